"""What a person corrects: one small file, one reader, and the later word holds."""

import contextlib
import itertools
import json
import threading

import pytest

from vreid_jax.errors import InputError
from vreid_jax.linking import Correction, append_correction, read_corrections
from vreid_jax.linking.corrections import corrections_path
from vreid_jax.linking.history import told_by_people

A, B, C, D = (("g.parquet", name) for name in "abcd")
ROWS = {A: 0, B: 1, C: 2, D: 3}


def test_corrections_are_read_as_they_were_added(tmp_path):
    identities = tmp_path / "i.parquet"
    added = (
        Correction("same", (A, B)),
        Correction("different", (A,), others=(C, D)),
        Correction("name", (A,), name="Zoë", at="2026-03-02T09:00:00+00:00"),
        Correction("name", (A,), name=""),
    )
    assert read_corrections(identities) == ()
    for correction in added:
        assert append_correction(identities, correction) == tmp_path / "i.corrections.json"
    assert read_corrections(identities) == added
    assert all(each.at for each in added)


def test_of_many_at_once_none_is_lost(tmp_path):
    def add(number):
        while True:
            with contextlib.suppress(InputError):  # another thread is just writing
                return append_correction(tmp_path / "i.parquet", Correction("name", (A,), name=f"p{number}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in read_corrections(tmp_path / "i.parquet")} == {f"p{number}" for number in range(8)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "merge", "tracklets": (A, B)}, "there are same, different, name"),
        ({"kind": "same", "tracklets": (A, A)}, "at least 2 tracklets"),
        ({"kind": "different", "tracklets": (A,)}, "has others"),
        ({"kind": "different", "tracklets": (A,), "others": (A,)}, "another person than itself"),
        ({"kind": "name", "tracklets": (A,), "name": "a\nb"}, "must be printable"),
        ({"kind": "same", "tracklets": (A, B), "name": "Ann"}, "has no name"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        Correction(**given)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        (json.dumps({"format": "other-1", "corrections": []}), "another version wrote it"),
        (json.dumps({"format": "vreid_jax-corrections-1", "corrections": [{"kind": "same", "tracklets": [["a"]], "at": ""}]}),
         r"corrections\[0\]: a tracklet is \[GALLERY, TRACKLET_ID\]"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence_and_stays_as_it_is(tmp_path, content, words):
    path = corrections_path(tmp_path / "i.parquet")
    path.write_text(content)
    for read in (read_corrections, lambda file: append_correction(file, Correction("same", (A, B)))):
        with pytest.raises(InputError, match=words):
            read(tmp_path / "i.parquet")
    assert path.read_text() == content


def test_the_later_of_two_that_contradict_each_other_holds():
    merge, split = Correction("same", (A, B, C)), Correction("different", (A,), others=(C,))
    found = told_by_people(ROWS, [merge, split])
    assert found.apart == ((0, 2),)
    assert {group for group, _ in found.groups} == {(1, 2)}  # A is who was split off
    found = told_by_people(ROWS, [split, merge])
    assert found.apart == ()
    assert {group for group, _ in found.groups} == {(0, 1, 2)}
    # Also where the contradiction goes through a third tracklet.
    found = told_by_people(ROWS, [Correction("same", (A, B)), split, Correction("same", (B, C))])
    assert {group for group, _ in found.groups} == {(1, 2)}
    # Who is split off leaves the others of a merge together, wherever the merge names it.
    for order in itertools.permutations((A, B, C)):
        found = told_by_people(ROWS, [Correction("same", order), Correction("different", (A,), others=(B, C))])
        assert {group for group, _ in found.groups} == {(1, 2)}
    # Two who leave one after the other are not each other's person, nor does the other half go with who leaves one of them.
    ab, cd = (A, B), (C, D)
    leave = Correction("different", (A,), others=(B,)), Correction("different", (C,), others=(D,))
    found = told_by_people(ROWS, [Correction("same", ab + cd), *leave])
    assert {group for group, _ in found.groups} == {(1, 3)}
    found = told_by_people(ROWS, [Correction("same", ab + cd), leave[0]])
    assert {group for group, _ in found.groups} == {(1, 2, 3)}


def test_tracklets_that_are_gone_are_passed_over_and_the_last_name_holds():
    import numpy as np

    gone = ("g.parquet", "gone")
    names = [Correction("name", (A,), name="Ann"), Correction("name", (B, gone), name="Bea")]
    found = told_by_people(ROWS, [Correction("same", (A, gone)), *names])
    assert found.groups == ()
    assert found.names_of(np.array([1, 1, 2, 0])).tolist() == ["Bea", "Bea", "", ""]
