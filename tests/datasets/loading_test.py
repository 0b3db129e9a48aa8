import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from vreid_jax import datasets
from vreid_jax.datasets import loading
from vreid_jax.datasets.tracklet_folder import layout
from vreid_jax.datasets.walkers.plan import make_plan
from vreid_jax.datasets.walkers.scene import draw_tracklet
from vreid_jax.datasets.walkers.walkers_dataset_builder import CONFIGS, Builder
from vreid_jax.errors import InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def tiny(root):
    return datasets.load_builder("walkers/tiny", data_dir=root, progress=False)


def test_the_built_dataset_is_what_the_plan_says(tiny):
    plan = make_plan(CONFIGS["tiny"])
    assert {s: i.num_examples for s, i in tiny.info.splits.items()} == {"train": 35, "query": 18, "gallery": 23}
    gallery = {t.tracklet_id: t for t in plan.test}
    for example in tiny.as_data_source("gallery"):
        tracklet = gallery.pop(example["tracklet_id"].decode())
        assert (example["pid"], example["camid"]) == (tracklet.pid, tracklet.camid)
        drawn = draw_tracklet(plan, tracklet)
        stored = np.stack(list(example["frames"]))
        assert stored.shape == drawn.shape
        assert np.abs(stored.astype(int) - drawn).mean() < 5
    assert not gallery


def test_query_repeats_gallery_tracklets_under_the_same_id(tiny):
    gallery = {e["tracklet_id"]: e for e in tiny.as_data_source("gallery")}
    for example in tiny.as_data_source("query"):
        same = gallery[example["tracklet_id"]]
        assert (same["pid"], same["camid"]) == (example["pid"], example["camid"])
        np.testing.assert_array_equal(np.stack(list(same["frames"])), np.stack(list(example["frames"])))


def test_metadata_can_be_read_back(tiny, root):
    expected = [list(pair) for pair in make_plan(CONFIGS["tiny"]).twins]
    assert len(expected) == 2
    assert tiny.info.metadata["twins"] == expected
    assert datasets.load_builder("walkers/tiny", data_dir=root).info.metadata["twins"] == expected
    assert tfds.builder_from_directory(tiny.data_dir).info.metadata["twins"] == expected


def test_tfds_finds_it_by_name(tiny, root):
    source = tfds.data_source("walkers/tiny", split="train", data_dir=root)
    assert len(source) == 35
    assert source[0]["frames"][0].shape == (64, 32, 3)


def test_a_builder_survives_pickling(tiny):
    assert len(pickle.loads(pickle.dumps(tiny)).as_data_source("train")) == 35


def test_two_builds_are_equal_byte_for_byte(tiny, tmp_path):
    again = datasets.load_builder("walkers/tiny", data_dir=tmp_path, progress=False)
    assert again.info.splits["train"].num_bytes == tiny.info.splits["train"].num_bytes
    for a, b in zip(tiny.as_data_source("train"), again.as_data_source("train"), strict=True):
        assert a["tracklet_id"] == b["tracklet_id"]
        np.testing.assert_array_equal(np.stack(list(a["frames"])), np.stack(list(b["frames"])))


def test_another_file_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="file_format is 'tfrecord'; walkers is stored as array_record"):
        tfds.builder("walkers/tiny", data_dir=tmp_path, file_format="tfrecord")
    assert (
        tfds.builder("walkers/tiny", data_dir=tmp_path, file_format="array_record").info.file_format.value
        == "array_record"
    )


def test_what_a_killed_build_left_is_swept_away(tmp_path):
    left = tmp_path / "walkers" / "tiny" / "incomplete.ABCDEF_1.0.0"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    datasets.load_builder("walkers/tiny", data_dir=tmp_path, progress=False)
    assert not left.exists()


def test_a_builder_made_before_another_process_was_done_is_not_taken(tiny, tmp_path):
    early = Builder(config="tiny", data_dir=tmp_path)
    shutil.copytree(tiny.data_dir, early.data_dir)
    assert not loading._is_prepared(early)
    late = Builder(config="tiny", data_dir=tmp_path)
    assert loading._is_prepared(late)
    assert len(late.as_data_source("query")) == 18


def test_two_processes_build_once_and_import_no_jax(tmp_path):
    code = textwrap.dedent(f"""
        import sys
        from vreid_jax import datasets
        builder = datasets.load_builder("walkers/tiny", data_dir={str(tmp_path)!r})
        assert len(builder.as_data_source("query")) == 18
        assert not {{"jax", "tensorflow", "flax"}} & set(sys.modules)
    """)
    both = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [(p.communicate(), p.returncode) for p in both]
    assert [code for _, code in outputs] == [0, 0], outputs
    bars = [b"walkers/tiny train" in err for (_, err), _ in outputs]
    assert sum(bars) == 1
    assert all(out == b"" for (out, _), _ in outputs)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("walkers/smal", {}, "walkers/small"),
        ("walker", {}, "did you mean walkers"),
        ("mnist", {}, "there is no dataset 'mnist'"),
        ("walkers/tiny", {"path": "x"}, "has no field 'path'"),
        ("folder", {}, "needs the field path"),
        ("folder", {"path": "/nowhere/at/all"}, "/nowhere/at/all is not a folder"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_sentence(tmp_path, name, fields, message):
    with pytest.raises(InputError, match=message):
        datasets.load_builder(name, data_dir=tmp_path, **fields)
    assert not list(tmp_path.iterdir())


def test_an_address_is_not_taken_for_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="built in a local folder, and gs://bucket/tfds is an address: name a folder"):
        datasets.load_builder("walkers/tiny", data_dir="gs://bucket/tfds", progress=False)
    monkeypatch.setattr(loading.constants, "DATA_DIR", "s3://bucket/tfds")
    with pytest.raises(InputError, match="s3://bucket/tfds is an address"):
        datasets.load_builder("walkers/tiny", progress=False)
    assert not list(tmp_path.iterdir())


def _picture(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((12, 6, 3), level, np.uint8))


@pytest.fixture
def tracklets(tmp_path):
    """Two people to train, one to ask for; the gallery has a distractor and junk."""
    path = tmp_path / "tracklets"
    for pid in ("0001", "0002"):
        for camid in (1, 2):
            for frame in (2, 10, 1):
                _picture(path / "train" / pid / f"c{camid}_a" / f"{frame}.png", 10 * frame)
    _picture(path / "query" / "7" / "c1" / "f0001.jpg", 50)
    _picture(path / "gallery" / "7" / "c3_b" / "f0001.jpg", 60)
    _picture(path / "gallery" / "0" / "c2_b" / "f0001.jpg", 70)
    _picture(path / "gallery" / "-1" / "c2_b" / "f0001.jpg", 80)
    (path / "train" / ".DS_Store").write_text("litter")
    (path / "train" / "0001" / "Thumbs.db").write_text("litter")
    (path / "train" / "0001" / "c1_a" / "._1.png").write_text("litter")
    return path


def _load(path, tmp_path, **fields):
    return datasets.load_builder("folder", data_dir=tmp_path / "built", progress=False, path=path, **fields)


def test_a_folder_becomes_a_dataset(tracklets, tmp_path):
    builder = _load(tracklets, tmp_path)
    train = {e["tracklet_id"].decode(): e for e in builder.as_data_source("train")}
    assert sorted(train) == ["0001/c1_a", "0001/c2_a", "0002/c1_a", "0002/c2_a"]
    example = train["0002/c2_a"]
    assert (example["pid"], example["camid"]) == (2, 2)
    # Frames in order of their number, not of their name.
    assert [int(f.mean()) for f in example["frames"]] == [10, 20, 100]
    assert sorted((e["pid"], e["camid"]) for e in builder.as_data_source("gallery")) == [(-1, 2), (0, 2), (7, 3)]
    assert [e["camid"] for e in builder.as_data_source("query")] == [1]
    assert builder.info.metadata["skipped_frames"] == 0


def test_encoded_frames_pass_through_untouched(tracklets, tmp_path):
    source = _load(tracklets, tmp_path).as_data_source(
        "query", deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    assert (tracklets / "query" / "7" / "c1" / "f0001.jpg").read_bytes() in source[0]


def test_a_folder_is_built_anew_when_its_contents_change(tracklets, tmp_path):
    first = _load(tracklets, tmp_path)
    assert _load(tracklets, tmp_path).data_dir == first.data_dir
    _picture(tracklets / "train" / "0001" / "c1_a" / "11.png", 30)
    second = _load(tracklets, tmp_path)
    assert second.data_dir != first.data_dir
    assert max(len(e["frames"]) for e in second.as_data_source("train")) == 4


def test_a_folder_that_is_built_is_listed_for_its_name_and_for_its_records(tracklets, tmp_path, monkeypatch):
    listed, list_split = [], layout.list_split
    monkeypatch.setattr(layout, "list_split", lambda root, split: listed.append(split) or list_split(root, split))
    _load(tracklets, tmp_path)
    assert sorted(listed) == sorted(2 * layout.SPLITS)


def test_a_person_who_moves_from_train_to_query_makes_another_dataset(tracklets):
    before = layout.fingerprint(tracklets, "error")
    last = max((tracklets / "train").iterdir())
    assert last.name < min((tracklets / "query").iterdir()).name  # so that all folders stay in the same order
    last.rename(tracklets / "query" / last.name)
    assert layout.fingerprint(tracklets, "error") != before


def test_a_folder_that_is_only_scored_needs_no_train(tracklets, tmp_path):
    whole = _load(tracklets, tmp_path)
    (tracklets / "train").rename(tmp_path / "train")
    scored = _load(tracklets, tmp_path)
    assert set(scored.info.splits) == {"query", "gallery"}
    assert _load(tracklets, tmp_path).data_dir == scored.data_dir
    shutil.copytree(tmp_path / "train", tracklets / "query", dirs_exist_ok=True)
    assert _load(tracklets, tmp_path).info.splits["query"].num_examples == 5  # and not the copy with train
    for person in ("0001", "0002"):
        shutil.rmtree(tracklets / "query" / person)
    (tmp_path / "train").rename(tracklets / "train")
    assert _load(tracklets, tmp_path).data_dir == whole.data_dir


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(lambda p: p.mkdir(), "empty"), (lambda p: p.touch(), "missing"), (lambda p: p.symlink_to("gone"), "missing")],
)
def test_a_train_without_people_is_an_error(tracklets, tmp_path, spoil, words):
    shutil.rmtree(tracklets / "train")
    spoil(tracklets / "train")
    with pytest.raises(InputError, match=f"train is {words}: "):
        _load(tracklets, tmp_path)


def test_an_unreadable_frame_is_an_error_or_is_skipped_and_counted(tracklets, tmp_path):
    bad = tracklets / "train" / "0001" / "c1_a" / "2.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"{bad} is not a readable image"):
        _load(tracklets, tmp_path)
    assert not list((tmp_path / "built").rglob("*.array_record*"))
    builder = _load(tracklets, tmp_path, bad_frames="skip")
    assert builder.info.metadata["skipped_frames"] == 1
    again = _load(tracklets, tmp_path, bad_frames="skip")
    assert again.info.metadata["skipped_frames"] == 1
    train = {e["tracklet_id"]: [int(f.mean()) for f in e["frames"]] for e in again.as_data_source("train")}
    assert train[b"0001/c1_a"] == [10, 100]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.symlink_to("gone.jpg"), "No such file or directory"),
        (lambda p: p.mkdir(), "Is a directory"),
        (os.mkfifo, "it is not a regular file but a pipe or a device"),
    ],
    ids=["link", "folder", "pipe"],
)
def test_a_frame_that_is_not_a_file_is_an_error_or_is_skipped_and_counted(tracklets, tmp_path, spoil, words):
    spoil(tracklets / "train" / "0001" / "c1_a" / "9.jpg")
    (tracklets / "train" / "0001" / "c1_a" / "loop").symlink_to("..")
    with pytest.raises(InputError, match=rf"9.jpg cannot be read: {words}; repair it, or set bad_frames=skip"):
        _load(tracklets, tmp_path)
    assert _load(tracklets, tmp_path, bad_frames="skip").info.metadata["skipped_frames"] == 1


def test_a_tracklet_with_no_readable_frame_is_an_error_even_when_skipping(tracklets, tmp_path):
    (tracklets / "query" / "7" / "c1" / "f0001.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="c1 has no readable frame"):
        _load(tracklets, tmp_path, bad_frames="skip")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "query").rename(p / "probe"), "query is missing"),
        (lambda p: (p / "train" / "0001").rename(p / "train" / "anna"), "anna.*whole number"),
        (lambda p: (p / "train" / "0001").rename(p / "train" / "0"), "belong in gallery"),
        (lambda p: (p / "train" / "0001" / "c1_a").rename(p / "train" / "0001" / "cam1"), "c<camera>_<name>"),
        (lambda p: (p / "gallery" / "7" / "c3_x").mkdir(), "c3_x has no frames"),
        (lambda p: (p / "query" / "7" / "c1" / "f2.bmp").touch(), "f2.bmp: frames are .jpg or .png"),
        (lambda p: (p / "train" / "5").mkdir(), "train/5 is empty"),
        (lambda p: (p / "train" / "0001").rename(p / "train" / ("9" * 20)), "9{20} is too large a number"),
        (lambda p: (p / "query" / "7" / "c1").rename(p / "query" / "7" / f"c{'9' * 20}_a"), "is too large a number"),
        (lambda p: (p / "query" / "7" / "c1").rename(p / "query" / "7" / "c1_\udcff"), "c<camera>_<name> in UTF-8"),
    ],
)
def test_a_layout_that_is_not_right_is_named_before_anything_is_written(tracklets, tmp_path, spoil, message):
    spoil(tracklets)
    with pytest.raises(InputError, match=message):
        _load(tracklets, tmp_path)
    assert not (tmp_path / "built").exists()


def test_query_and_gallery_share_a_name_only_for_the_same_frames(tracklets, tmp_path):
    _picture(tracklets / "gallery" / "7" / "c1" / "f0001.jpg", 50)
    assert len(_load(tracklets, tmp_path).as_data_source("gallery")) == 4
    _picture(tracklets / "gallery" / "7" / "c1" / "f0001.jpg", 90)
    with pytest.raises(InputError, match=r"query/7/c1 and .*gallery/7/c1 share a name but not their frames"):
        _load(tracklets, tmp_path)


@pytest.mark.parametrize("split", ["query", "gallery"])
def test_a_tracklet_to_train_on_and_to_test_on_is_told(tracklets, tmp_path, caplog, split):
    shutil.copytree(tracklets / "train" / "0002", tracklets / split / "0002")
    _load(tracklets, tmp_path)
    (said,) = caplog.messages  # and not a second time that person 2 is on both sides
    there, here = (tracklets / part / "0002" / "c1_a" for part in ("train", split))
    assert said.startswith(f"{there} and {here} are the same tracklet: ")
    assert said.endswith("; remove one of them before you train on this folder")


def test_tracklets_of_one_name_are_opened_only_where_their_sizes_agree(tracklets, tmp_path, monkeypatch):
    shutil.copytree(tracklets / "train" / "0002" / "c1_a", tracklets / "gallery" / "0002" / "c1_a")
    same = tracklets / "gallery" / "0002" / "c1_a" / "10.png"
    same.write_bytes(same.read_bytes() + b" ")
    train, query, gallery = (layout.list_split(tracklets, split) for split in layout.SPLITS)
    monkeypatch.setattr(layout.filecmp, "cmp", None)
    layout.check_held_out(train, [*query, *gallery])
    same.unlink()
    same.symlink_to("gone")
    layout.check_held_out(train, [*query, *gallery])


def test_a_person_to_train_on_and_to_test_on_is_told(tracklets, tmp_path, caplog):
    _load(tracklets, tmp_path)
    assert not caplog.messages
    _picture(tracklets / "gallery" / "2" / "c3_b" / "f0001.jpg", 60)
    _load(tracklets, tmp_path)
    (said,) = caplog.messages
    assert said.startswith(f"{tracklets}: pids of train are also in query or gallery (1; the first is 2): ")


def test_bad_frames_has_two_values(tracklets, tmp_path):
    with pytest.raises(InputError, match="bad_frames='ignore' must be one of error, skip"):
        _load(tracklets, tmp_path, bad_frames="ignore")
