import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy.io import loadmat, savemat

from vreid_jax.datasets import loading
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import compare, count
from vreid_jax.datasets.mars_video import layout
from vreid_jax.errors import InputError


def _levels(example):
    return [round(float(frame.mean())) for frame in example["frames"]]


def _build(root, tmp_path):
    return loading.prepare("mars_video", root, tmp_path / "built", progress=False)


def _check(builder):
    train = {e["tracklet_id"].decode(): e for e in builder.as_data_source("train")}
    assert {name: (e["pid"], e["camid"]) for name, e in train.items()} == {
        "0001C1T0001F001": (1, 1),
        "0001C2T0001F001": (1, 2),
        "0007C6T0012F001": (7, 6),
    }
    assert _levels(train["0001C2T0001F001"]) == [25, 30]
    assert _levels(train["0007C6T0012F001"]) == list(range(35, 90, 5))
    gallery = list(builder.as_data_source("gallery"))
    assert [(e["pid"], e["camid"], len(e["frames"])) for e in gallery] == [
        (-1, 1, 2), (0, 3, 4), (2, 1, 3), (2, 1, 2), (2, 4, 5), (6, 5, 2)
    ]  # fmt: skip
    query = list(builder.as_data_source("query"))
    assert [e["tracklet_id"] for e in query] == [gallery[row]["tracklet_id"] for row in (2, 4, 5)]
    assert _levels(query[1]) == _levels(gallery[4]) == [65, 70, 75, 80, 85]
    assert builder.info.metadata["split_source"] == "official"


def test_rows_become_tracklets(mars, tmp_path):
    _check(_build(mars, tmp_path))


def test_archives_are_read_as_they_lie(mars, zip_folder, tmp_path):
    for folder in ("bbox_train", "bbox_test"):
        zip_folder(mars, folder)
    before = sorted(path.name for path in mars.iterdir())
    _check(_build(mars, tmp_path))
    assert sorted(path.name for path in mars.iterdir()) == before


def test_info_may_lie_deeper_and_the_boxes_too(mars, tmp_path):
    (mars / "MARS-evaluation-master").mkdir()
    (mars / "info").rename(mars / "MARS-evaluation-master" / "info")
    _check(_build(mars.parent, tmp_path))


def _table(mars, name, change):
    path = mars / "info" / f"{name}.mat"
    key = name if name == "query_IDX" else name.replace("tracks", "track")
    table = loadmat(path)[key].astype(np.int64)
    savemat(path, {key: change(table)})


def _set(row, column, value):
    def change(table):
        table[row, column] = value
        return table

    return change


def _names(mars, split, change):
    path = mars / "info" / f"{split}_name.txt"
    path.write_text("\n".join(change(path.read_text().split())))


def _first_name(name):
    return lambda names: [name, *names[1:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: shutil.rmtree(m / "bbox_test"), "no folders bbox_train and bbox_test"),
        (lambda m: (m / "info" / "query_IDX.mat").unlink(), "has no query_IDX.mat"),
        (lambda m: (m / "bbox_train/0001/0001C2T0001F002.jpg").unlink(), "0001C2T0001F002.jpg is missing, though .*train_name"),
        (lambda m: (m / "bbox_test/00-1/00-1C1T0001F002.jpg").write_bytes(b""), "00-1C1T0001F002.jpg is not a readable image"),
        (lambda m: _table(m, "tracks_train_info", _set(1, 0, 5)), "tracks_train_info.mat.*row 2.*the rows are contiguous"),
        (lambda m: _table(m, "tracks_train_info", lambda t: t[[0, 0, 1, 2]]), "row 2.*contiguous"),
        (lambda m: _table(m, "tracks_train_info", lambda t: t[:2]), "the rows end at name 5, .* has 16"),
        (lambda m: _table(m, "tracks_train_info", lambda t: t[:, :3]), r"rows must be \[start, end, pid, camera\]"),
        (lambda m: _table(m, "tracks_train_info", _set(1, 2, 2)), "row 2: says pid 2, camera 2, but its frame 0001C2T0001F001.jpg is of pid 1"),
        (lambda m: _table(m, "tracks_train_info", _set(1, 3, 3)), "row 2: says pid 1, camera 3"),
        (lambda m: _table(m, "tracks_test_info", _set(0, 2, 0)), "row 1: says pid 0, camera 1, .* is of pid -1"),
        (lambda m: _table(m, "query_IDX", _set(0, 0, 99)), "names row 99 of track_test_info, which has rows 1 to 6"),
        (lambda m: _table(m, "query_IDX", _set(0, 0, 1)), "row 1, which is of pid -1: junk and distractors cannot be queries"),
        (lambda m: _table(m, "query_IDX", _set(0, 0, 5)), "names a row of track_test_info twice"),
        (lambda m: (m / "info/query_IDX.mat").write_bytes(b"no matlab"), "query_IDX.mat is not a readable MATLAB file"),
        (lambda m: shutil.copy(m / "info/query_IDX.mat", m / "info/tracks_test_info.mat"), "has no table track_test_info, only query_IDX"),
        (lambda m: _names(m, "train", _first_name("1_c1_f1.jpg")), "train_name.txt, line 1: '1_c1_f1.jpg' is not a name like"),
        (lambda m: _names(m, "train", _first_name("0001C1T0001F002.jpg")), "line 2: 0001C1T0001F002.jpg is listed twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path_and_nothing_is_left(mars, tmp_path, spoil, message):
    spoil(mars)
    with pytest.raises(InputError, match=message):
        _build(mars, tmp_path)
    assert not [path for path in (tmp_path / "built").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_truncated_jpeg_is_said(mars, tmp_path):
    path = mars / "bbox_train/0007/0007C6T0012F005.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"0007C6T0012F005.jpg is not a readable image \(cut short\)"):
        _build(mars, tmp_path)


def test_frames_are_ordered_by_their_number(mars):
    _names(mars, "train", lambda names: [names[2], names[0], names[1], *names[3:]])
    with ManualFiles(mars) as files:
        listing = layout.list_tracklets(files)
    assert [path[-8:] for path in listing.train[0].frames] == ["F001.jpg", "F002.jpg", "F003.jpg"]


def test_counts(mars):
    with ManualFiles(mars) as files:
        listing = layout.list_tracklets(files)
    numbers = count(listing)
    expected = {
        "train tracklets": 3, "train identities": 2, "train frames": 16, "train shortest tracklet": 2,
        "train mean length": 5.3, "train longest tracklet": 11, "query tracklets": 3, "query identities": 2,
        "gallery tracklets": 6, "gallery identities": 2, "gallery frames": 18, "junk tracklets": 1,
        "distractor tracklets": 1, "cameras": 6, "queries beyond one a camera": 0,
    }  # fmt: skip
    assert {what: numbers[what] for what in expected} == expected
    differing = {finding.what for finding in compare(listing, layout.PUBLISHED) if finding.differs}
    assert "train tracklets" in differing
    assert not differing & {"queries beyond one a camera", "cameras"}


INFO = os.environ.get("VREID_MARS_INFO", "")


@pytest.fixture(scope="module")
def real_mars(tmp_path_factory, tiny_jpeg):
    """The real tables, over one tiny picture that is linked under every name."""
    root, info = tmp_path_factory.mktemp("MARS"), Path(INFO)
    (root / "info").mkdir()
    for path in info.glob("*.mat"):
        shutil.copy(path, root / "info")
    heads = [line.split()[0].rpartition("/")[2] for line in (info / "list_train_seq.txt").read_text().splitlines()]
    for split in ("train", "test"):
        table = loadmat(info / f"tracks_{split}_info.mat")[f"track_{split}_info"]
        names, made = [], set()
        for row, (start, end, pid, camid) in enumerate(table.tolist()):
            made_up = f"{'00-1' if pid == -1 else f'{pid:04d}'}C{camid}T{row:04d}"
            head = heads[row] if split == "train" else made_up
            names += [f"{head}F{frame:03d}.jpg" for frame in range(1, end - start + 2)]
        for number, name in enumerate(names):
            folder = root / f"bbox_{split}" / name[:4]
            if folder not in made:
                folder.mkdir(parents=True, exist_ok=True)
                made.add(folder)
            if number % 30000 == 0:  # a file system has a limit to the names of one file
                one = root / f"{split}{number}.jpg"
                one.write_bytes(tiny_jpeg)
            os.link(one, folder / name)
        (root / "info" / f"{split}_name.txt").write_text("\n".join(names))
    return root


@pytest.mark.skipif(not INFO, reason="VREID_MARS_INFO names no folder with the real tables of MARS")
def test_the_real_tables_give_the_published_counts_and_both_galleries(real_mars, tmp_path):
    from vreid_jax.data import TrackletSource
    from vreid_jax.retrieval import protocols

    with ManualFiles(real_mars) as files:
        findings = compare(layout.list_tracklets(files), layout.PUBLISHED)
    assert not [str(finding) for finding in findings if finding.differs]
    assert sum(bool(finding.published) for finding in findings) == len(layout.PUBLISHED)
    builder = _build(real_mars, tmp_path)
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert sizes == {"train": 8298, "query": 1980, "gallery": 12180}
    query, gallery = (TrackletSource(builder, split) for split in ("query", "gallery"))
    assert TrackletSource(builder, "train").num_frames.sum() == 509914
    assert gallery.num_frames.sum() == 681089
    for name, expected in (("mars", 11310), ("mars_query_free", 9330)):
        q, g = protocols.get(name).select(
            query.tracklet_ids, query.pids, query.camids, gallery.tracklet_ids, gallery.pids, gallery.camids
        )
        assert (len(q), len(g)) == (1980, expected)
        valid = [np.any((gallery.pids[g] == query.pids[i]) & (gallery.camids[g] != query.camids[i])) for i in q]
        assert sum(valid) == {"mars": 1980, "mars_query_free": 1840}[name]


def test_tfds_builds_it_by_its_own_ways(mars, tmp_path):
    builder = tfds.builder("mars_video", data_dir=tmp_path / "built")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=mars, try_download_gcs=False),
        download_dir=tmp_path / "downloads",
    )
    _check(builder)
    assert len(tfds.data_source("mars_video", split="train", data_dir=tmp_path / "built")) == 3
