import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vreid_jax.datasets import loading
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import compare
from vreid_jax.datasets.prid2011_video import layout
from vreid_jax.errors import InputError

PERSONS = {1, 2, 4, 6}  # of the fixture, those with 27 frames in both cameras


def _list(root, number=0):
    with ManualFiles(root) as files:
        return layout.list_tracklets(files, number)


def _name(pid):
    return f"person_{pid:04d}"


def _json(root, train=(1, 4), test=(2, 6)):
    halves = {"train": [_name(p) for p in train], "test": [_name(p) for p in test]}
    (root / "splits_prid2011.json").write_text(json.dumps([halves] * 10))


def _json_of(root, halves):
    (root / "splits_prid2011.json").write_text(json.dumps([halves] * 10))


def _pids(listing):
    assert {t.camid for t in listing.query} == {1}
    assert {t.camid for t in listing.gallery} == {2}
    assert {(t.pid, t.camid) for t in listing.train} == {(t.pid, camid) for t in listing.train for camid in (1, 2)}
    assert [t.pid for t in listing.query] == [t.pid for t in listing.gallery]
    return {t.pid for t in listing.train}, {t.pid for t in listing.query}


def test_the_splits_of_the_literature_by_names(prid):
    _json(prid)
    listing = _list(prid, 9)
    assert _pids(listing) == ({1, 4}, {2, 6})
    assert listing.split_source == "official: splits_prid2011.json"


def test_the_splits_of_a_matlab_file_number_the_persons_with_27_frames(prid):
    savemat(prid / "train_test_splits_prid.mat", {"ls_set": np.array([[3, 1, 2, 4]] * 10)})
    listing = _list(prid)
    assert _pids(listing) == ({2, 6}, {4, 1})
    assert listing.split_source == "official: train_test_splits_prid.mat"


def test_without_a_file_the_split_is_seeded_among_the_persons_with_27_frames(prid):
    listing = _list(prid, 5)
    train, test = _pids(listing)
    assert (len(train), len(test)) == (2, 2)
    assert train | test == PERSONS
    assert listing.split_source.startswith("seeded")
    assert listing == _list(prid, 5)


def test_it_is_built(prid, tmp_path):
    _json(prid)
    builder = loading.prepare("prid2011_video/split_1", prid, tmp_path / "built", progress=False)
    examples = list(builder.as_data_source("query"))
    assert [(e["pid"], e["camid"], e["tracklet_id"]) for e in examples] == [
        (2, 1, b"cam_a/person_0002"),
        (6, 1, b"cam_a/person_0006"),
    ]
    assert [int(frame.mean()) for frame in examples[0]["frames"]] == list(range(1, 28))


MULTI = "prid_2011/multi_shot"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: shutil.rmtree(r / "prid_2011"), "no folder multi_shot"),
        (lambda r: shutil.rmtree(r / MULTI / "cam_b"), "cam_b has no folders of persons"),
        (lambda r: (r / MULTI / "cam_a/person_2").mkdir(), "cam_a/person_2: .* like person_0001"),
        (lambda r: (r / MULTI / "cam_a/person_0009").mkdir(), "person_0009 has no frames"),
        (lambda r: (r / MULTI / "cam_a/person_0002/a.png").write_bytes(b""), "a.png: a frame must be named like 0001.png"),
        (lambda r: _json(r, train=(1, 5)), "division 0, names person_0005, who is not in both cameras"),
        (lambda r: _json(r, train=(1, 201)), "names person_0201"),
        (lambda r: _json(r, train=(1, 2)), "a person occurs twice"),
        (lambda r: (r / "splits_prid2011.json").write_text("[]"), "must be a list of 10"),
        (lambda r: (r / "splits_prid2011.json").write_text("{"), "must be a list of 10"),
        (lambda r: (r / "splits_prid2011.json").write_text("[" * 100_000), "must be a list of 10"),
        (lambda r: _json_of(r, {"train": ["person_0001", 1], "test": ["person_0002"]}), "must be a list of 10"),
        (lambda r: _json_of(r, {"train": [["person_0001"]], "test": ["person_0002"]}), "must be a list of 10"),
        (lambda r: _json_of(r, {"train": [1], "test": ["person_0002"]}), "must be a list of 10"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(prid, spoil, message):
    spoil(prid)
    with pytest.raises(InputError, match=message):
        _list(prid)


SPLITS = os.environ.get("VREID_PRID_SPLITS", "")


@pytest.mark.skipif(not SPLITS, reason="VREID_PRID_SPLITS names no splits_prid2011.json")
def test_the_splits_of_the_literature_give_the_published_counts(tmp_path, tiny_jpeg):
    file = Path(SPLITS) / "splits_prid2011.json" if Path(SPLITS).is_dir() else Path(SPLITS)
    shutil.copy(file, tmp_path / "splits_prid2011.json")
    splits = json.loads(file.read_text())
    persons = sorted({*splits[0]["train"], *splits[0]["test"]})
    for camera in ("cam_a", "cam_b"):
        for person in persons:
            folder = tmp_path / "multi_shot" / camera / person
            folder.mkdir(parents=True)
            for frame in range(1, 28):
                (folder / f"{frame:04d}.jpg").touch()
    for number, split in enumerate(splits):
        listing = _list(tmp_path, number)
        assert not [str(finding) for finding in compare(listing, layout.PUBLISHED) if finding.differs]
        train, test = _pids(listing)
        assert {_name(pid) for pid in train} == set(split["train"])
        assert {_name(pid) for pid in test} == set(split["test"])
