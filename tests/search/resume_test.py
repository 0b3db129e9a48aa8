"""Galleries that are written in parts: what a second start may trust, who writes, and what a refusal leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.files import only_process
from vreid_jax.search import embed_gallery, embedding, open_gallery, open_source
from vreid_jax.search.gallery import read_about

pytest.importorskip("pyarrow")


@pytest.fixture
def people(tmp_path):
    """Six folders of two pictures, each of its own pattern."""
    for number in range(6):
        draw(tmp_path / "people" / f"p{number}", number)
    return tmp_path / "people"


def draw(folder, seed):
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        frame = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(frame, (16, 32), interpolation=cv2.INTER_NEAREST))


@pytest.fixture
def interrupted(model, people, tmp_path, monkeypatch):
    """Embed two by two and stop before the third part; return the file that was to be written."""
    embed, out = type(model).embed_tracklets, tmp_path / "g.parquet"

    def twice(self, tracklets, **fields):
        if "p4" in tracklets.tracklet_ids:
            raise KeyboardInterrupt
        return embed(self, tracklets, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "embed_tracklets", twice)
        with pytest.raises(KeyboardInterrupt):
            embed_gallery(model, open_source(str(people)), out, chunk=2)
    return out


def vectors_of(model, people, out):
    embed_gallery(model, open_source(str(people)), out)
    return open_gallery(out).vectors


def test_pictures_that_were_replaced_under_their_names_are_embedded_again(model, people, interrupted, tmp_path, caplog):
    stale = open_gallery(tmp_path / "g.parquet.parts" / "000000.parquet").vectors
    for picture in (people / "p0").iterdir():  # as long as before
        content = picture.read_bytes()
        draw(people / "p0", 99)
        picture.write_bytes(picture.read_bytes().ljust(len(content), b"\0"))
    done = embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
    assert (done.tracklets, done.resumed) == (6, 2)
    assert "1 parts in" in caplog.text
    fresh = vectors_of(model, people, tmp_path / "fresh.parquet")
    np.testing.assert_array_equal(open_gallery(interrupted).vectors, fresh)
    assert np.abs(fresh[0] - stale[0]).max() > 1e-3


def test_labels_that_have_changed_are_those_of_now(model, people, interrupted):
    done = embed_gallery(model, open_source(str(people), camera=7), interrupted, chunk=2)
    assert done.resumed == 0
    assert set(open_gallery(interrupted).columns["camid"]) == {7}


def test_a_part_that_was_damaged_is_embedded_again(model, people, interrupted, tmp_path):
    first, second = sorted((tmp_path / "g.parquet.parts").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-9])
    content = bytearray(second.read_bytes())
    vector = content.index(open_gallery(second).vectors.tobytes()[:16])
    content[vector] ^= 1
    second.write_bytes(content)
    assert embed_gallery(model, open_source(str(people)), interrupted, chunk=2).resumed == 0
    fresh = vectors_of(model, people, tmp_path / "fresh.parquet")
    np.testing.assert_array_equal(open_gallery(interrupted).vectors, fresh)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"5", b'"x"', b"\xff", b"{}", b"[" * 100_000])
def test_a_damaged_record_of_the_parts_is_one_sentence_and_keeps_them(model, people, interrupted, tmp_path, content):
    parts = tmp_path / "g.parquet.parts"
    (parts / "job.json").write_bytes(content)
    with pytest.raises(InputError, match="holds the first parts of another gallery"):
        embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
    assert len(list(parts.glob("*.parquet"))) == 2


def test_the_second_writer_of_a_gallery_is_told_so(model, people, interrupted, tmp_path):
    code = "import sys, filelock; held = filelock.FileLock(sys.argv[1]); held.acquire(); print('held', flush=True); sys.stdin.read()"
    lock = tmp_path / "g.parquet.parts" / embedding.LOCK
    other = subprocess.Popen(
        [sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=r"another process writes .*g.parquet: wait for it, or name another file"):
        embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert embed_gallery(model, open_source(str(people)), interrupted, chunk=2).resumed == 4


@pytest.mark.parametrize("without_job", [False, True])
def test_parts_that_a_killed_process_has_not_removed_go_with_the_next_call(model, people, interrupted, without_job):
    parts, copy = interrupted.with_name("g.parquet.parts"), interrupted.with_name("copy")
    shutil.copytree(parts, copy)
    embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
    for mine, left in ((False, True), (True, False)):
        shutil.copytree(copy, parts, dirs_exist_ok=True)
        job = json.loads((parts / embedding.JOB).read_text())
        (parts / embedding.JOB).write_text(json.dumps(job if mine else {**job, "fingerprint": "another"}))
        if mine and without_job:
            (parts / embedding.JOB).unlink()
        with pytest.raises(InputError, match="exists already"):
            embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
        assert parts.exists() == left


def test_what_comes_to_the_name_meanwhile_is_kept(model, people, tmp_path, monkeypatch):
    out, embed = tmp_path / "g.parquet", type(model).embed_tracklets

    def slow(self, tracklets, **fields):
        out.write_text("precious")
        return embed(self, tracklets, **fields)

    monkeypatch.setattr(type(model), "embed_tracklets", slow)
    with pytest.raises(InputError, match="exists already"):
        embed_gallery(model, open_source(str(people)), out)
    assert out.read_text() == "precious"


def test_a_refusal_leaves_no_folder_of_parts(model, people, tmp_path):
    (people / "p0" / "1.png").write_bytes(b"no picture")
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"1.png is not a readable image"):
        embed_gallery(model, open_source(str(people)), tmp_path / "g.parquet")
    with pytest.raises(InputError, match="is too long"):
        embed_gallery(model, open_source(str(people)), tmp_path / f"{'x' * 240}.parquet")
    assert set(tmp_path.iterdir()) == before


def test_vectors_that_are_not_finite_are_not_stored(model, people, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model), "embed_tracklets", lambda *_, **__: np.full((6, 4), np.nan, np.float32))
    with pytest.raises(RuntimeError, match="a vector of p0 that is not of finite numbers"):
        embed_gallery(model, open_source(str(people)), tmp_path / "g.parquet")
    assert not list(tmp_path.glob("g.parquet*"))


def test_what_a_killed_writer_left_is_removed(model, people, interrupted, tmp_path):
    left = tmp_path / ".g.parquet.0123abcd.partial"
    left.write_bytes(b"half")
    os.mkfifo(tmp_path / "g.parquet.parts" / "000002.parquet")
    embed_gallery(model, open_source(str(people)), interrupted, chunk=2)
    assert {path.name for path in tmp_path.iterdir()} == {"people", "g.parquet"}


def test_a_lock_file_is_held_by_one(tmp_path):
    with only_process(tmp_path / ".lock", "taken"), pytest.raises(InputError, match="taken"):  # noqa: SIM117
        with only_process(tmp_path / ".lock", "taken"):
            pass
    with only_process(tmp_path / ".lock", "taken"):
        pass


def test_a_job_is_stated_in_words_that_json_holds(people, interrupted, tmp_path):
    job = json.loads((tmp_path / "g.parquet.parts" / "job.json").read_text())
    assert (job["input"], job["chunk"]) == (str(people), 2)


def test_parts_of_an_earlier_version_are_gone_on_with(model, people, interrupted, tmp_path, monkeypatch):
    file = tmp_path / "g.parquet.parts" / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"input": people.name}))  # as it was typed
    monkeypatch.chdir(tmp_path)
    done = embed_gallery(model, open_source(people.name), interrupted, chunk=2)
    assert done.resumed > 0
    assert read_about(interrupted)["input"] == str(people)
