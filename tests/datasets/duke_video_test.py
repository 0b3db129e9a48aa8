import shutil

import pytest
import tensorflow_datasets as tfds

from vreid_jax.datasets import loading
from vreid_jax.datasets.duke_video import layout
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import count
from vreid_jax.errors import InputError


def _list(root):
    with ManualFiles(root) as files:
        return layout.list_tracklets(files)


def test_both_name_styles_and_a_tracklet_that_starts_at_its_second_frame(duke, tmp_path):
    builder = loading.prepare("duke_video", duke, tmp_path / "built", progress=False)
    found = {
        split: {
            e["tracklet_id"].decode(): (e["pid"], e["camid"], [round(float(f.mean())) for f in e["frames"]])
            for e in builder.as_data_source(split)
        }
        for split in ("train", "query", "gallery")
    }
    assert found == {
        "train": {
            "train/0001/0001": (1, 6, [10, 20, 30]),
            "train/0001/0002": (1, 7, [20, 30]),
            "train/0012/0003": (12, 8, [10]),
        },
        "query": {"query/0003/0001": (3, 1, [10, 20])},
        "gallery": {"gallery/0003/0005": (3, 2, [90, 100, 110]), "gallery/0040/0006": (40, 3, [10])},
    }


def test_what_is_not_as_published_is_a_warning_where_tfds_builds_it_and_can_be_left_to_the_caller(
    duke, tmp_path, caplog
):
    builder = tfds.builder("duke_video", data_dir=tmp_path / "built")
    config = tfds.download.DownloadConfig(manual_dir=duke)
    builder.download_and_prepare(download_config=config, download_dir=tmp_path)
    said = [record.message for record in caplog.records if record.name == "vreid_jax.datasets.manual.builder"]
    assert said[0].startswith("duke_video/1.0.0: train tracklets 3 DIFFERS: published is 2,196 (")
    assert not any("as published" in message for message in said)
    caplog.clear()
    loading.prepare("duke_video", duke, tmp_path / "again", progress=False, warn=False)
    assert not [record for record in caplog.records if record.name.startswith("vreid_jax")]


def test_counts(duke):
    numbers = count(_list(duke))
    assert numbers["queried identities in gallery"] == 1
    assert numbers["unqueried identities in gallery"] == 1
    assert numbers["train identities"] == 2
    assert numbers["cameras"] == 6


def test_a_zip_file_alone_will_do(duke, zip_folder):
    before = _list(duke)
    zip_folder(duke, "DukeMTMC-VideoReID")
    assert _list(duke / "DukeMTMC-VideoReID.zip") == before


TOP = "DukeMTMC-VideoReID"


def test_an_archive_that_cannot_be_read_is_named_with_what_is_missing_or_left_out_of_the_build(duke, tmp_path, caplog):
    (duke / "other.zip").write_bytes(b"half")
    loading.prepare("duke_video", duke, tmp_path / "built", progress=False)
    assert f"duke_video/1.0.0: left out: {duke}/other.zip is not a readable zip archive" in caplog.messages[-1]
    (duke / TOP / "query").rename(tmp_path / "query")
    with pytest.raises(
        InputError, match=r"no folders train, query, .* file; .*other.zip is not a readable zip archive"
    ):
        _list(duke)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: shutil.rmtree(r / TOP / "query"), "no folders train, query, gallery"),
        (lambda r: (r / TOP / "train/0001/0009").mkdir(), "train/0001/0009 has no frames"),
        (lambda r: (r / TOP / "train/0044").mkdir(), "train/0044 has no folders of tracklets"),
        (lambda r: (r / TOP / "train/0001").rename(r / TOP / "train/anna"), "train/anna: .* named by a number"),
        (lambda r: (r / TOP / "train/0001").rename(r / TOP / "train/0002"), "a frame of person 1 in the folder of person 2"),
        (lambda r: (r / TOP / "train/0001/0001/1.jpg").write_bytes(b""), "1.jpg: a frame must be named like"),
        (lambda r: (r / TOP / "train/0001/0001/0001C2F0009X1.jpg").write_bytes(b""), "cameras 2, 6; a tracklet has one"),
        (lambda r: shutil.copytree(r / TOP / "train/0001/0001", r / TOP / "train/0001/0007"), "0007 is the same tracklet as .*0001"),
        (lambda r: shutil.rmtree(r / TOP / "gallery/0003"), "query/0003/0001: person 3 is a query but not in the gallery"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(duke, spoil, message):
    spoil(duke)
    with pytest.raises(InputError, match=message):
        _list(duke)


def test_the_instructions_offer_no_download():
    instructions = loading.manual_builder("duke_video").MANUAL_DOWNLOAD_INSTRUCTIONS
    assert "withdrawn" in instructions
    assert "http" not in instructions
