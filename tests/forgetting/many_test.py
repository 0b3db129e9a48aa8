"""Forgetting many takes no longer for each of them, and the proof looks for all of them at once."""

from pathlib import Path

import pytest

from vreid_jax.forgetting import plan, proof, removal
from vreid_jax.search.gallery import open_gallery

pytest.importorskip("pyarrow")


def test_what_is_the_same_for_all_of_them_is_done_once(kept, tmp_path, monkeypatch):
    frames, iterdir, check = tmp_path / "town.parquet.frames", Path.iterdir, plan._check_folder
    listings, staying = [], []

    def listed(path):
        listings.append(path)
        return iterdir(path)

    def checked(one, others):
        staying.append(others)
        check(one, others)

    monkeypatch.setattr(Path, "iterdir", listed)
    monkeypatch.setattr(plan, "_check_folder", checked)
    made = plan.make_plan(kept, open_gallery(kept), ["track0", "track1", "track2"], [])
    assert len(staying) == 3
    assert staying[0] is staying[2]
    assert made.names is made.names
    assert made.called is made.called
    removal.remove(made)
    assert listings.count(frames) == 1


@pytest.mark.parametrize("place", [0, 1, 2, 8, 13, 36])
def test_bytes_are_found_wherever_they_stand(monkeypatch, place):
    monkeypatch.setattr(proof, "_BLOCK", 8)
    wanted = {b"abcd", b"abce", b"zyxw"}
    content = bytearray(b"abc." * 10)
    assert proof._first_in(bytes(content), wanted) is None
    content[place : place + 4] = b"zyxw"
    assert proof._first_in(bytes(content), wanted) == b"zyxw"
    assert proof._first_in(b"abc", wanted) is None
    assert proof._first_in(bytes(content), {}) is None
