"""`vreid data flow`: what it prints, and what it refuses."""

import json
import shutil

import cv2
import numpy as np
import pytest

from vreid_jax.cli import command
from vreid_jax.config import from_file
from vreid_jax.data import TrackletSource
from vreid_jax.data.flow_building import flow_folder, missing_parts
from vreid_jax.datasets.tracklet_folder.layout import SPLITS
from vreid_jax.experiment.sources import dataset_builder


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of walkers/tiny, beside which flow may be written."""
    shutil.copytree(data_dir / "walkers", tmp_path / "walkers", ignore=shutil.ignore_patterns("flow"))
    return tmp_path


def test_the_flow_of_every_split_is_counted(own_data, capsys):
    arguments = ["data", "flow", "walkers/tiny", f"--data-dir={own_data}", "--processes=1", "--quiet"]
    assert command.main([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert set(first["splits"]) == {"train", "query", "gallery"}
    query = first["splits"]["query"]
    assert query["tracklets"] == 18
    assert query["fields"] == query["frames"] - 18
    assert len(list((own_data / "walkers" / "tiny").rglob("*.flow"))) == 3
    assert command.main(arguments) == 0  # all is there
    printed = capsys.readouterr().out
    assert f"query: {query['fields']:,} fields of 18 tracklets" in printed


def test_unreadable_pictures_of_a_folder_are_left_out_as_in_the_run_that_reads_the_flow(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split in SPLITS:
        folder = tmp_path / "people" / split / "1" / f"c{1 + (split == 'gallery')}_walk"
        folder.mkdir(parents=True)
        for number in range(4):
            assert cv2.imwrite(str(folder / f"{number}.jpg"), rng.integers(0, 256, (32, 16, 3), np.uint8))
    (tmp_path / "people" / "query" / "1" / "c1_walk" / "2.jpg").write_bytes(b"not a picture")
    arguments = ["data", "flow", "folder", f"--path={tmp_path / 'people'}", f"--data-dir={tmp_path}", "--processes=1"]
    assert command.main([*arguments, "--quiet"]) == 2
    assert "set bad_frames=skip to leave it out" in capsys.readouterr().err
    assert command.main([*arguments, "--quiet", "--json", "--bad-frames=skip"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert {split: found["frames"] for split, found in splits.items()} == {"train": 4, "query": 3, "gallery": 4}

    show = ["data", "show", *arguments[2:-1], "--split=query", f"--out={tmp_path / 'query.png'}"]
    assert command.main(show) == 2
    assert command.main([*show, "--bad-frames=skip"]) == 0

    config = from_file(f"two_stream_vgg:folder,path={tmp_path / 'people'},data_dir={tmp_path},bad_frames=skip")
    config.logging.progress = False
    query = TrackletSource(dataset_builder(config), "query")
    assert missing_parts(query, flow_folder(query, config.data.flow)) == []


def test_a_folder_without_train_has_flow_and_is_shown(write_folder, tmp_path, capsys):
    people = write_folder(tmp_path / "people", pids=())
    arguments = ["folder", f"--path={people}", f"--data-dir={tmp_path}"]
    assert command.main(["data", "flow", *arguments, "--processes=1", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"].keys() == {"query", "gallery"}
    assert command.main(["data", "show", *arguments, "--split=train", f"--out={tmp_path / 'no.png'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"vreid data show: {people}/train is missing, so the dataset has no split 'train'; it has ")
    assert command.main(["data", "show", *arguments, f"--out={tmp_path / 'people.png'}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method=lucas"], "--method=lucas is one of dis, farneback"),
        (["--processes=-1"], "--processes=-1 must not be negative"),
        (["--bad-frames=skip"], "dataset 'walkers' has no field 'bad_frames'"),
    ],
)
def test_what_cannot_be_is_one_sentence(data_dir, arguments, said, capsys):
    assert command.main(["data", "flow", "walkers/tiny", f"--data-dir={data_dir}", *arguments]) == 2
    assert said in capsys.readouterr().err
