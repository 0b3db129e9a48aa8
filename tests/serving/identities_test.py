"""What the pages know of identities: the file of `vreid link`, and the corrections that it does not have in it yet."""

import os

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax.errors import InputError
from vreid_jax.linking import Correction, append_correction, read_corrections
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.serving.identities import open_identities
from vreid_jax.serving.people import open_people

A, B = ("north.parquet", "track0000"), ("south.parquet", "track0001")


@pytest.fixture
def known(town):
    """Write the identities of two galleries anew, with so many corrections in them; return them as served."""
    galleries, linked = town

    def write(corrections=None):
        table = read_identities(linked)
        about = {**table.about, **({} if corrections is None else {"corrections": corrections})}
        write_identities(Identities(table.columns, about), linked)
        return open_identities(linked, open_people(galleries))

    return linked, write


def test_what_is_corrected_while_links_are_made_holds_after_they_are_written(known):
    linked, write = known
    append_correction(linked, Correction("same", (A, B), at="2026-05-04T10:00:00+00:00"))
    taken = len(read_corrections(linked))  # by `vreid link`, as it begins
    append_correction(linked, Correction("name", (A,), name="Ann", at="2026-05-04T10:00:01+00:00"))
    append_correction(linked, Correction("different", (A,), (B,), at="2026-05-04T10:00:02+00:00"))
    served = write(taken)  # as it ends
    assert served.names == {1: "Ann"}
    assert [each.kind for each in served.waiting] == ["different"]
    assert write(3).waiting == []


def test_a_file_that_does_not_say_what_it_took_in_has_what_was_noted_before_it(known):
    linked, write = known
    append_correction(linked, Correction("name", (A,), name="Ann", at="2026-05-04T10:00:00+00:00"))
    append_correction(linked, Correction("same", (A, B), at="2026-05-04T10:00:09+00:00"))
    served = write()
    assert (served.names, served.waiting) == ({}, [])
    os.utime(linked, (1777888805,) * 2)  # between the two
    served = open_identities(linked, open_people([linked.with_name("north.parquet")]))
    assert (served.names, [each.kind for each in served.waiting]) == ({}, ["same"])


def test_what_is_corrected_after_earlier_corrections_were_lost_holds(known):
    linked, write = known
    write(corrections=3)  # of which none is left
    append_correction(linked, Correction("name", (A,), name="Ann"))
    append_correction(linked, Correction("same", (A, B)))
    served = open_identities(linked, open_people([linked.with_name("north.parquet")]))
    assert (served.names, [each.kind for each in served.waiting]) == ({1: "Ann"}, ["same"])


def test_identities_of_another_recording_at_the_same_path_are_refused(known, town):
    linked, _ = known
    table = read_identities(linked)
    start = 1777881600.0 + 3.0 * np.arange(5)  # 2026-05-04T08:00:00Z and an hour later, as the galleries say
    times = {"start_seconds": np.r_[start, start + 3600], "end_seconds": np.r_[start, start + 3600] + 2}
    write_identities(Identities({**table.columns, **times}, table.about), linked)
    assert open_identities(linked, open_people(town[0])).title(1) == "person 1"
    times["end_seconds"][0] += 0.5
    write_identities(Identities({**table.columns, **times}, table.about), linked)
    with pytest.raises(
        InputError, match=r"north.parquet is another recording .* of which 5 were linked: link it again"
    ):
        open_identities(linked, open_people(town[0]))
