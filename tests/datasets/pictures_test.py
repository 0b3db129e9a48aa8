"""Encoded pictures: whole ones pass, damaged ones are told apart, and no size that a file states fills the memory."""

import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest

from vreid_jax.datasets import pictures, strict_decoder

NOISE = np.random.default_rng(0).integers(0, 256, (16, 8, 3), np.uint8)
PICTURE = cv2.resize(NOISE, (64, 128), interpolation=cv2.INTER_CUBIC)


def encoded(suffix, *flags):
    return cv2.imencode(suffix, PICTURE, flags)[1].tobytes()


JPEG, PNG = encoded(".jpg"), encoded(".png")
SCAN = JPEG.find(b"\xff\xda") + 14  # where the picture begins


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def jpeg_of_size(width, height):
    at = JPEG.find(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


@pytest.mark.parametrize(
    "whole",
    [
        JPEG,
        PNG,
        encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".jpg", cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
        JPEG[:-2] + bytes(2) + JPEG[-2:],  # some cameras pad
        JPEG + b"more",
        PNG + b"more",
    ],
)
def test_a_whole_picture_is_not_faulted(whole):
    assert pictures.fault(whole) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"GIF89a", "neither JPEG nor PNG"),
        (JPEG[:-200], "cut short"),
        (JPEG[:SCAN] + bytes(len(JPEG) - SCAN - 2) + JPEG[-2:], "Corrupt JPEG data"),
        (JPEG[: SCAN + 500] + bytes(512) + JPEG[SCAN + 1012 :], "Corrupt JPEG data"),
        (JPEG[:2] + JPEG[-2:], "does not state its size"),
        (JPEG[:2] + bytes(100) + JPEG[SCAN - 14 :], "does not state its size"),
        (PNG[:-20], "cut short"),
        (PNG[:900] + bytes([PNG[900] ^ 1]) + PNG[901:], "checksum is wrong"),
        (PNG[:8], "cut short"),
        (png_of_size(64, 128), "does not decode"),
        (png_of_size(60_000, 60_000), "states 60000 x 60000 pixels; at most 67 million are read"),
        (jpeg_of_size(60_000, 60_000), "states 60000 x 60000 pixels"),
        (jpeg_of_size(0, 64), "does not state its size"),
    ],
)
def test_a_damaged_picture_is_not_readable(data, words, capfd):
    assert words in pictures.fault(data)
    assert capfd.readouterr().err == ""  # what the decoder prints is for this check alone


def test_most_damage_of_a_sector_is_found():
    found = [
        pictures.fault(JPEG[:at] + bytes(512) + JPEG[at + 512 :]) is not None
        for at in range(SCAN, len(JPEG) - 520, (len(JPEG) - SCAN) // 20)
    ]
    assert len(found) >= 18
    assert np.mean(found) >= 0.95


def test_threads_get_each_their_own_answer():
    damaged = JPEG[:SCAN] + bytes(len(JPEG) - SCAN - 2) + JPEG[-2:]
    answers = {}

    def ask(number):
        answers[number] = [strict_decoder.damage(damaged if (number + turn) % 2 else JPEG) for turn in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, found in answers.items():
        assert [bool(each) for each in found] == [bool((number + turn) % 2) for turn in range(20)]


def test_a_decoder_that_was_killed_is_started_again():
    assert strict_decoder.damage(JPEG) is None
    decoder = strict_decoder._idle.queue[-1]
    os.kill(decoder._process.pid, 9)
    decoder._process.wait()
    assert strict_decoder.damage(JPEG) is None


def test_a_decoder_takes_packages_from_where_this_process_does_and_blames_no_picture_if_it_cannot_start(
    tmp_path, monkeypatch, capfd
):
    (tmp_path / "cv2.py").write_text("raise SystemExit('this one is of no use')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="the decoder of pictures cannot be started: it ended with status 1"):
        strict_decoder._Decoder().damage(JPEG)
    assert capfd.readouterr().err == "this one is of no use\n"
