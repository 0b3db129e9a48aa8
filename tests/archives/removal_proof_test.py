"""What the proof looks for in the bytes of a database, with a file of any bytes in place of those that Lance writes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from vreid_jax.archives import removal
from vreid_jax.archives.database import FORMAT, Database
from vreid_jax.search.gallery_format import KEY

pa = pytest.importorskip("pyarrow")

TOWN = "north.mp4-0123456789"


def rows(names, vectors):
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).reshape(-1)), 16)
    return pa.record_batch([pa.array(names), column], ["key", "vector"])


@pytest.fixture
def prove(tmp_path):
    """`prove(gone, batches, content)` is what is said of the bytes where some names are gone and batches of names stay."""

    def check(gone, batches, content, vectors=None):
        (tmp_path / "data").write_bytes(content.encode())
        random = np.random.default_rng(0)
        stay = [rows(names, random.normal(size=(len(names), 16))) for names in batches]
        vectors = random.normal(size=(len(gone), 16)) if vectors is None else vectors
        dataset = SimpleNamespace(
            schema=SimpleNamespace(metadata={KEY: json.dumps({"format": FORMAT, "fingerprint": "f"})}),
            count_rows=lambda filter=None: sum(map(len, batches)) if filter is None else 0,
            versions=lambda: [1],
            to_batches=lambda columns: iter(stay),
        )
        doomed = [pa.Table.from_batches([rows(gone, vectors)])]
        return removal._prove(Database(str(tmp_path), dataset), ["key IN (…)"], doomed)[-1]

    return check


@pytest.mark.parametrize(
    ("gone", "batches"),
    [
        (f"{TOWN}/track1000", [[f"{TOWN}/track10000", f"{TOWN}/track2000"]]),
        (f"{TOWN}/7/c1_a", [[f"{TOWN}/7/c1_ab"]]),
        (f"{TOWN}/track1000", [[f"{TOWN}/track100"], ["0.mp4-0123456789/track1"]]),  # one behind the other
    ],
)
def test_a_name_whose_bytes_are_in_names_that_stay_is_not_taken_for_what_is_left(prove, gone, batches):
    said = prove([gone], batches, "".join(name for names in batches for name in names))
    assert said.endswith("vectors or names, but for 1 of these names, whose bytes are in names that stay")


def test_a_name_that_is_left_is_found_beside_one_that_is_part_of_another(prove):
    gone, stay = [f"{TOWN}/track1000", f"{TOWN}/track3000"], f"{TOWN}/track10000"
    assert prove(gone, [[stay]], stay).endswith(", but for 1 of these names, whose bytes are in names that stay")
    with pytest.raises(RuntimeError, match=r"not everything is gone: .*data holds bytes of .*/track3000; give"):
        prove(gone, [[stay]], gone[1] + stay)
    assert prove(gone[1:], [[stay]], stay).endswith("holds the bytes of their vectors or names")


@pytest.mark.parametrize("left", ["first/a", "second/b"])
def test_of_two_who_had_the_same_vector_both_names_are_looked_for(prove, left):
    with pytest.raises(RuntimeError, match=f"holds bytes of {left}"):
        prove(["first/a", "second/b"], [], f"…{left}…", vectors=np.ones((2, 16)))
