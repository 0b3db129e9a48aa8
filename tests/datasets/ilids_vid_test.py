import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vreid_jax.datasets import loading
from vreid_jax.datasets.ilids_vid import layout
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import compare
from vreid_jax.errors import InputError

PERSONS = (1, 2, 5, 10, 11, 200)  # as the sorted folders of the fixture
SPLITS = "train-test people splits/train_test_splits_ilidsvid.mat"


def _list(root, number=0):
    with ManualFiles(root) as files:
        return layout.list_tracklets(files, number)


@pytest.mark.parametrize("number", [0, 7])
def test_the_first_half_of_a_row_is_test_counted_from_one_in_sorted_folders(ilids, number):
    listing = _list(ilids, number)
    row = loadmat(ilids / SPLITS)["ls_set"][number]
    test, train = ({PERSONS[i - 1] for i in half} for half in (row[:3], row[3:]))
    assert {(t.pid, t.camid) for t in listing.train} == {(pid, camid) for pid in train for camid in (1, 2)}
    assert {(t.pid, t.camid) for t in listing.query} == {(pid, 1) for pid in test}
    assert {(t.pid, t.camid) for t in listing.gallery} == {(pid, 2) for pid in test}
    assert listing.split_source == "official: train_test_splits_ilidsvid.mat"


def test_frames_are_in_order_of_their_number_and_read(ilids, tmp_path):
    builder = loading.prepare("ilids_vid/split_4", ilids, tmp_path / "built", progress=False)
    assert builder.info.metadata["split_source"].startswith("official")
    for example in builder.as_data_source("gallery"):
        assert [int(frame.mean()) for frame in example["frames"]] == [200, 210, 220]
        assert example["tracklet_id"].decode() == f"cam2/person{example['pid']:03d}"


def test_without_the_file_the_split_is_seeded_and_says_so(ilids):
    (ilids / SPLITS).unlink()
    listings = [_list(ilids, number) for number in range(10)]
    assert listings[3] == _list(ilids, 3)
    assert len({tuple(t.pid for t in listing.query) for listing in listings}) > 3
    for listing in listings:
        assert listing.split_source.startswith("seeded: train_test_splits_ilidsvid.mat is missing")
        halves = {t.pid for t in listing.train}, {t.pid for t in listing.query}
        assert [len(half) for half in halves] == [3, 3]
        assert halves[0] | halves[1] == set(PERSONS)


def test_seeded_halves_are_a_warning_where_tfds_builds_them_and_can_be_left_to_the_caller(ilids, tmp_path, caplog):
    loading.prepare("ilids_vid/split_4", ilids, tmp_path / "official", progress=False)
    assert "split is" not in caplog.text
    (ilids / SPLITS).unlink()
    loading.prepare("ilids_vid/split_4", ilids, tmp_path / "seeded", progress=False)
    assert (
        "ilids_vid/split_4/1.0.0: split is seeded: train_test_splits_ilidsvid.mat is missing, so these" in caplog.text
    )
    caplog.clear()
    loading.prepare("ilids_vid/split_4", ilids, tmp_path / "said", progress=False, warn=False)
    assert not caplog.text


def test_counts_beside_the_published_ones(ilids):
    findings = {finding.what: finding for finding in compare(_list(ilids), layout.PUBLISHED)}
    assert findings["train tracklets"].found == 6
    assert str(findings["train tracklets"]).endswith("DIFFERS: published is 300 (150 persons in two cameras)")
    assert "22 or 23" in str(findings["shortest tracklet"])
    assert not findings["cameras"].differs


def _row(root, change):
    table = loadmat(root / SPLITS)["ls_set"]
    savemat(root / SPLITS, {"ls_set": change(table)})


def _twice(table):
    table[0, 0] = table[0, 1]
    return table


SEQUENCES = "i-LIDS-VID/sequences"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: shutil.rmtree(r / "i-LIDS-VID"), "no folder sequences with cam1 and cam2"),
        (lambda r: shutil.rmtree(r / SEQUENCES / "cam2/person005"), "cam2 has no person005, which cam1 has"),
        (lambda r: (r / SEQUENCES / "cam1/person005").rename(r / SEQUENCES / "cam1/anna"), "cam1/anna: .* like person001"),
        (lambda r: (r / SEQUENCES / "cam1/person5").mkdir(), "cam1/person5: person 5 has two folders"),
        (lambda r: [p.unlink() for p in (r / SEQUENCES / "cam1/person005").glob("cam*")], "cam1/person005 has no frames"),
        (lambda r: (r / SEQUENCES / "cam1/person005/00012.png").write_bytes(b""), "00012.png: a frame must be named like"),
        (lambda r: (r / SEQUENCES / "cam1/person005/cam2_person005_3.png").write_bytes(b""), "another person or camera"),
        (lambda r: _row(r, lambda t: t[:, :4]), r"a table \[10, 4\] does not fit 6 persons"),
        (lambda r: _row(r, _twice), "row 1: must have every number from 1 to 6 once"),
        (lambda r: _row(r, lambda t: t + 0.5), "must hold whole numbers"),
        (lambda r: savemat(r / SPLITS, {"splits": np.ones((10, 6))}), "has no table ls_set, only splits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(ilids, spoil, message):
    spoil(ilids)
    with pytest.raises(InputError, match=message):
        _list(ilids)
