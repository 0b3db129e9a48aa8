"""Files of optical flow: which tracklets are in which, a few fields of one, and damage."""

import pickle

import cv2
import numpy as np
import pytest

from vreid_jax.data import flow_files
from vreid_jax.data.flow_files import FlowFiles, FlowPart, encode_field, flow_parts, write_part
from vreid_jax.errors import InputError

LENGTHS = np.array([4, 1, 9, 3, 6])


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Files of five tracklets of various sizes, eight fields in each, and the fields."""
    monkeypatch.setattr(flow_files, "FIELDS_IN_FILE", 8)
    rng = np.random.default_rng(0)
    fields = [
        rng.integers(1, 256, (max(length - 1, 1), 10 + row, 6 + row, 2), np.uint8) for row, length in enumerate(LENGTHS)
    ]
    for part in flow_parts(LENGTHS):
        encoded = [[encode_field(field) for field in each] for each in fields[part.start : part.stop]]
        write_part(part.path(tmp_path), encoded)
    return tmp_path, fields


def test_a_file_holds_whole_tracklets_and_every_tracklet_is_in_one(monkeypatch):
    monkeypatch.setattr(flow_files, "FIELDS_IN_FILE", 8)
    # Fields 3, 1, 8, 2, 5: the third tracklet begins at the fifth field, the fourth at the thirteenth.
    assert flow_parts(LENGTHS) == [FlowPart(0, 0, 3), FlowPart(1, 3, 5)]
    assert flow_parts(np.array([1])) == [FlowPart(0, 0, 1)]


def test_fields_come_back_one_by_one_in_any_order(stored):
    folder, fields = stored
    files = FlowFiles(folder, LENGTHS)
    for row, expected in enumerate(fields):
        np.testing.assert_array_equal(files.read(row, np.arange(len(expected)), "t"), expected)
    np.testing.assert_array_equal(files.read(2, np.array([7, 0, 3]), "t"), fields[2][[7, 0, 3]])
    assert files.num_fields == 19
    assert files.num_bytes == sum(path.stat().st_size for path in folder.iterdir())
    again = pickle.loads(pickle.dumps(files))  # as a worker process gets it
    np.testing.assert_array_equal(again.read(4, np.array([1]), "t"), fields[4][1:2])


def test_only_the_fields_that_are_asked_for_are_decoded(stored, monkeypatch):
    folder, _ = stored
    decode, seen = cv2.imdecode, []
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: seen.append(1) or decode(*arguments))
    FlowFiles(folder, LENGTHS).read(2, np.array([5, 6]), "t")
    assert len(seen) == 2


def test_files_of_other_tracklets_missing_or_cut_short_are_one_sentence(stored):
    folder, _ = stored
    with pytest.raises(InputError, match=r"00001.flow is damaged: remove it and run the same command again"):
        FlowFiles(folder, np.array([4, 1, 9, 6, 3]))
    last = folder / "00001.flow"
    content = last.read_bytes()
    for damaged in (content[:-3], content[:50], b"", b"\x93NUMPY rubbish"):
        last.write_bytes(damaged)
        with pytest.raises(InputError, match=r"00001\.flow (is damaged|cannot be read): remove it"):
            FlowFiles(folder, LENGTHS)
    last.unlink()
    with pytest.raises(InputError, match=r"00001.flow is missing"):
        FlowFiles(folder, LENGTHS)


def test_a_damaged_field_names_the_file_and_the_tracklet(stored):
    folder, _ = stored
    files = FlowFiles(folder, LENGTHS)
    path = folder / "00000.flow"
    content = bytearray(path.read_bytes())
    content[int(files._starts[0]) : int(files._starts[0]) + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"00000.flow is damaged at train/x"):
        files.read(0, np.array([0]), "train/x")
