"""A trained toy model from its workdir to a gallery and what is found in it, by the library and by the command."""

import copy
import dataclasses
import json
import os
import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import vreid_jax
from vreid_jax import data
from vreid_jax.errors import InputError
from vreid_jax.search import embed_gallery, open_gallery, open_source
from vreid_jax.search.gallery import make_table, pyarrow, read_column, read_rows

pytest.importorskip("pyarrow")


def stored_table(workdir, name):
    with np.load(workdir / "features" / f"{name}.npz") as table:
        return dict(table)


def stored_features(workdir):
    tables = [stored_table(workdir, name) for name in ("spatial", "temporal")]
    units = [table["features"] / np.linalg.norm(table["features"], axis=1, keepdims=True) for table in tables]
    return dict(zip(tables[0]["tracklet_ids"].tolist(), np.concatenate(units, axis=1), strict=True))


def write_tracklets(root, builder, count=3):
    """Folders of losslessly written frames of the first gallery tracklets; returns their ids."""
    source = data.TrackletSource(builder, "gallery")
    for row in range(count):
        folder = root / str(max(int(source.pids[row]), 0)) / f"c{source.camids[row]}_t{row}"
        folder.mkdir(parents=True)
        for number, frame in enumerate(source.read(row, np.arange(source.num_frames[row]))):
            cv2.imwrite(str(folder / f"{number + 1:04d}.png"), frame[..., ::-1])
    return source.tracklet_ids[:count].tolist()


def test_a_gallery_holds_the_vectors_and_labels_of_the_evaluation(workdir, gallery_file, tiny_builder, model):
    expected = stored_features(workdir)
    gallery = open_gallery(gallery_file)
    names = gallery.columns["tracklet_id"].tolist()
    assert set(names) == set(expected)
    np.testing.assert_allclose(gallery.vectors, np.stack([expected[name] for name in names]), atol=1e-5)
    source = data.TrackletSource(tiny_builder, "gallery")
    pids = dict(zip(source.tracklet_ids.tolist(), source.pids.tolist(), strict=True))
    assert [pids[name] for name in names] == gallery.columns["pid"].tolist()
    assert set(gallery.columns["model"]) == {model.fingerprint}
    assert gallery.about["fingerprint"] == model.fingerprint
    assert gallery.about["open_set"] == json.loads((workdir / "results.json").read_text())["open_set"]


def test_other_readers_see_columns_and_lists_of_one_length(gallery_file):
    table = pyarrow().parquet.read_table(gallery_file)
    assert table.schema.field("vector").type == pyarrow().list_(pyarrow().float32(), 16)
    assert table.column("vector").to_pylist()[0] == open_gallery(gallery_file).vectors[0].tolist()
    assert {"tracklet_id", "pid", "camid", "first_frame", "start_seconds", "model"} <= set(table.column_names)


def test_one_tracklet_in_memory_gives_the_vector_of_the_evaluation(workdir, model, tiny_builder):
    source = data.TrackletSource(tiny_builder, "gallery")
    expected = stored_features(workdir)
    for row in (0, 5):
        vector = model.embed(source.read(row, np.arange(source.num_frames[row])))
        assert vector.shape == (16,)
        np.testing.assert_allclose(vector, expected[source.tracklet_ids[row]], atol=1e-5)
    assert model.embed(np.zeros((1, 9, 7, 3), np.uint8)).shape == (16,)  # one frame of another size


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)],
)  # fmt: skip
def test_frames_of_another_kind_are_refused(model, frames):
    with pytest.raises(InputError, match=r"frames must be \[T, H, W, 3\] uint8 RGB"):
        model.embed(frames)


def test_the_fingerprint_is_of_weights_and_preprocessing(workdir, model):
    assert vreid_jax.load(workdir).fingerprint == model.fingerprint
    variables = jax.tree.map(np.array, model.variables)
    variables["params"]["spatial"]["conv"]["kernel"][0, 0, 0, 0, 0] += 1e-6
    changed = vreid_jax.load(workdir)
    object.__setattr__(changed, "variables", variables)
    assert changed.fingerprint != model.fingerprint
    other = vreid_jax.load(workdir)
    other.config.data.height = 48
    assert other.fingerprint != model.fingerprint


def test_an_interrupted_embedding_goes_on_after_its_last_part(model, data_dir, gallery_file, tmp_path, monkeypatch):
    source = open_source("walkers/tiny", data_dir=str(data_dir))
    out = tmp_path / "walkers.parquet"
    embed, calls = type(model).embed_tracklets, []

    def interrupted(self, tracklets, *arguments, **fields):
        calls.append(len(tracklets))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(self, tracklets, *arguments, **fields)

    monkeypatch.setattr(type(model), "embed_tracklets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed_gallery(model, source, out, chunk=8)
    assert not out.exists()
    done = embed_gallery(model, source, out, chunk=8)
    assert (done.tracklets, done.resumed, calls) == (21, 16, [8, 8, 5, 5])
    np.testing.assert_allclose(open_gallery(out).vectors, open_gallery(gallery_file).vectors, atol=1e-6)
    assert list(tmp_path.iterdir()) == [out]


def test_parts_of_another_gallery_and_files_that_are_there_are_left_alone(model, data_dir, tmp_path):
    source = open_source("walkers/tiny", data_dir=str(data_dir))
    out = tmp_path / "a.parquet"
    (tmp_path / "a.parquet.parts").mkdir()
    (tmp_path / "a.parquet.parts" / "job.json").write_text('{"fingerprint": "other"}')
    (tmp_path / "a.parquet.parts" / "000000.parquet").write_bytes(b"of the other")
    with pytest.raises(InputError, match="holds the first parts of another gallery"):
        embed_gallery(model, source, out)
    out.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        embed_gallery(model, source, out)
    assert out.read_text() == "precious"
    with pytest.raises(InputError, match=r"must end in .parquet"):
        embed_gallery(model, source, tmp_path / "a.csv")


def test_a_start_that_finished_nothing_is_taken_over(model, data_dir, tmp_path, monkeypatch):
    source = open_source("walkers/tiny", data_dir=str(data_dir))
    parts = tmp_path / "a.parquet.parts"
    parts.mkdir()
    (parts / "job.json").write_text('{"fingerprint": "other"}')
    assert embed_gallery(model, source, tmp_path / "a.parquet").resumed == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "a.parquet"]

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(InputError, match=r"cannot write .*b.parquet.parts: Permission denied"):
        embed_gallery(model, source, tmp_path / "b.parquet")


def test_a_gallery_that_was_damaged_or_cannot_be_read_is_named(gallery_file, tmp_path, monkeypatch):
    content = gallery_file.read_bytes()
    broken = tmp_path / "broken.parquet"
    body = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    broken.write_bytes(content[:4] + bytes(body - 4) + content[body:])
    for read in (open_gallery, lambda path: read_rows(path, np.arange(3)), lambda path: read_column(path, "camid")):
        with pytest.raises(InputError, match=r"broken.parquet is damaged: embed its input again"):
            read(broken)
    vector = content.index(open_gallery(gallery_file).vectors.tobytes()[:16])
    broken.write_bytes(content[:vector] + bytes(4) + content[vector + 4 :])
    with pytest.raises(InputError, match=r"broken.parquet is damaged: embed its input again"):
        open_gallery(broken)
    pyarrow().parquet.write_table(pyarrow().parquet.read_table(gallery_file).drop_columns(["camid"]), broken)
    with pytest.raises(InputError, match=r"broken.parquet has no column camid: embed its input again"):
        open_gallery(broken)

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match=r"walkers.parquet cannot be read: Permission denied"):
        open_gallery(gallery_file)


def test_the_command_embeds_a_folder_and_finds_its_tracklets_again(
    vreid, workdir, model, gallery_file, tiny_builder, tmp_path
):
    ids = write_tracklets(tmp_path / "people", tiny_builder)
    out = tmp_path / "people.parquet"
    code, printed, said = vreid("embed", tmp_path / "people", f"--model={workdir}", f"--out={out}", "--json", "--quiet")
    assert code == 0, said
    assert json.loads(printed) == {
        "out": str(out), "model": "toy", "fingerprint": model.fingerprint, "tracklets": 3, "resumed": 0, "dimensions": 16,
    }  # fmt: skip
    people = open_gallery(out)
    ids = [ids[int(name.rpartition("_t")[2])] for name in people.columns["tracklet_id"].tolist()]
    assert people.row(0)["first_frame"] == 1
    assert people.row(0)["last_frame"] == people.row(0)["num_frames"]
    assert np.isnan(people.row(0)["start_seconds"])
    code, printed, said = vreid("search", gallery_file, f"--query={out}", "--k=2", "--json", "--false-accept-rate=0.1")
    assert code == 0, said
    found = json.loads(printed)
    assert [query["matches"][0]["tracklet_id"] for query in found["queries"]] == ids
    assert max(query["matches"][0]["distance"] for query in found["queries"]) < 1e-2
    one = tmp_path / "people" / people.columns["tracklet_id"][1]
    code, printed, said = vreid(
        "search", gallery_file, f"--query={one}", f"--model={workdir}", "--false-accept-rate=0.1"
    )
    assert code == 0, said
    assert ids[1] in printed
    assert "the same person up to" in printed


def test_a_gallery_of_other_footage_than_the_threshold_s_decides_nothing(vreid, workdir, model, tiny_builder, tmp_path):
    write_tracklets(tmp_path / "people", tiny_builder)
    out = tmp_path / "people.parquet"
    embed_gallery(model, open_source(str(tmp_path / "people")), out)
    about = open_gallery(out).about
    assert (about["open_set"], about["measured_on"]) == (None, "walkers/tiny")
    name = open_gallery(out).columns["tracklet_id"][0]
    code, printed, said = vreid("search", out, f"--query={name}", "--json")
    assert code == 0, said
    found = json.loads(printed)
    assert found["decision"] is None
    assert found["undecided"].startswith(
        "the model's threshold was measured on walkers/tiny and does not hold for other"
    )
    assert {match["same_person"] for query in found["queries"] for match in query["matches"]} == {None}
    _, printed, _ = vreid("search", out, f"--query={name}")
    assert "no decision, only an order, nearest first: the model's threshold was measured on walkers/tiny" in printed
    assert "the same person up to" not in printed


def test_a_model_of_ones_own_people_decides_in_galleries_of_them(model, tiny_builder, tmp_path):
    write_tracklets(tmp_path / "people" / "gallery", tiny_builder)
    config = copy.deepcopy(model.config)
    config.dataset, config.data.name, config.data.path = "folder", "folder", str(tmp_path / "people")
    own = dataclasses.replace(model, config=config)
    embed_gallery(own, open_source(str(tmp_path / "people" / "gallery")), tmp_path / "own.parquet")
    about = open_gallery(tmp_path / "own.parquet").about
    assert about["open_set"] == model.about["open_set"]
    (tmp_path / "people").rename(tmp_path / "people2")  # a path that only begins alike
    embed_gallery(own, open_source(str(tmp_path / "people2")), tmp_path / "other.parquet")
    assert open_gallery(tmp_path / "other.parquet").about["open_set"] is None


def test_the_command_finds_a_tracklet_of_the_gallery_itself(vreid, gallery_file):
    name = open_gallery(gallery_file).columns["tracklet_id"][2]
    code, printed, said = vreid("search", gallery_file, f"--query={name}", "--json", "--false-accept-rate=0.1")
    assert code == 0, said
    (query,) = json.loads(printed)["queries"]
    assert query["query"] == name
    assert name not in [match["tracklet_id"] for match in query["matches"]]
    assert len(query["matches"]) == 10


def test_a_gallery_of_another_model_is_refused(vreid, gallery_file, tmp_path, model):
    gallery = open_gallery(gallery_file)
    other = tmp_path / "other.parquet"
    columns = {name: values.tolist() for name, values in gallery.columns.items()}
    about = {**gallery.about, "fingerprint": "0123456789abcdef"}
    pyarrow().parquet.write_table(make_table(gallery.vectors, columns, about), other)
    code, printed, said = vreid("search", other, f"--query={gallery_file}")
    assert (code, printed) == (2, "")
    assert f"was made by model 0123456789abcdef (toy), the query by {model.fingerprint}" in said
    assert len(said.splitlines()) == 1


def test_a_wrong_command_line_is_one_sentence_and_exit_code_2(vreid, workdir, gallery_file, data_dir, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "1.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no video")
    empty = tmp_path / "empty.parquet"
    gallery = open_gallery(gallery_file)
    table = make_table(gallery.vectors, {k: v.tolist() for k, v in gallery.columns.items()}, gallery.about)
    pyarrow().parquet.write_table(table.slice(0, 0), empty)
    out = tmp_path / "out.parquet"
    cases = [
        (["embed", "walkers/tiny", "--model=nowhere", f"--out={out}"], "there is no model nowhere"),
        (["embed", "walkers/tiny", f"--model={tmp_path / 'empty'}", f"--out={out}"], "is not the workdir of a run"),
        (["embed", "walkers/tiny", f"--model={tmp_path / 'notes.txt'}", f"--out={out}"], "notes.txt is not a model"),
        (["embed", "walkers/tinny", f"--model={workdir}", f"--out={out}"], "did you mean walkers/tiny"),
        (["embed", "walkers/tiny", "--split=tset", f"--data-dir={data_dir}", f"--model={workdir}", f"--out={out}"], "has no split 'tset'"),
        (["embed", tmp_path / "empty", f"--model={workdir}", f"--out={out}"], "has no pictures"),
        (["embed", tmp_path / "broken", "--quiet", f"--model={workdir}", f"--out={out}"], "1.png is not a readable image"),
        (["embed", tmp_path / "gone.avi", f"--model={workdir}", f"--out={out}"], "does not exist"),
        (["embed", tmp_path / "notes.txt", f"--model={workdir}", f"--out={out}"], "notes.txt is not a video"),
        (["embed", "walkers/tiny", "--detector=hog", f"--out={out}"], "--detector=hog is for a video without tracks"),
        (["embed", "walkers/tiny", f"--model={workdir}", f"--out={gallery_file}"], "exists already"),
        (["search", tmp_path / "gone.parquet", "--query=x"], "there is no gallery"),
        (["search", tmp_path / "notes.txt", "--query=x"], "is not a gallery: it is not a Parquet file"),
        (["search", empty, "--query=x"], "is empty"),
        (["search", gallery_file, "--query=x"], "--query=x is not a tracklet of"),
        (["search", gallery_file, f"--query={gallery_file}", "--model=nowhere"], "--model=nowhere is of a query that"),
        (["search", gallery_file, f"--query={tmp_path / 'empty'}"], "give --model"),
        (["search", gallery_file, "--query=x", "--false-accept-rate=2"], "fraction in (0, 1]"),
        (["search", gallery_file, "--query="], "--query is empty"),
        (["embed", "", f"--model={workdir}", f"--out={out}"], "the input is empty"),
        (["embed", "walkers/tiny", "--model=", f"--out={out}"], "the model is empty"),
        (["embed", tmp_path / "broken", "--frames=x", f"--model={workdir}", f"--out={out}"], "--frames=x applies to a video"),
        (["embed", "walkers/tiny", "--start=0", f"--model={workdir}", f"--out={out}"], "--start=0 applies to a video"),
        (["embed", "x.avi", "--start=9:00", f"--model={workdir}", f"--out={out}"], "--start=9:00 is not a moment"),
        (["embed", "x.avi", "--retention-days=0", f"--out={out}"], "--retention-days=0 must be from 1 to 36500"),
        (["convert", workdir, "--licence=MIT"], "are about the file that is written: give --out"),
        (["evaluate", tmp_path / "empty"], "is not the workdir of a run"),
    ]  # fmt: skip
    for arguments, words in cases:
        code, printed, said = vreid(*arguments)
        assert (code, printed) == (2, ""), arguments
        assert words in said, arguments
        assert len(said.splitlines()) == 1, said
    assert not out.exists()


def test_the_command_evaluates_a_workdir_again(vreid, workdir, data_dir, tmp_path):
    folder = shutil.copytree(workdir, tmp_path / "run")
    code, printed, said = vreid("evaluate", folder, "--set=metric=cosine", "--json")
    assert code == 0, said
    outcome = json.loads(printed)
    assert outcome["protocols"] == json.loads((folder / "results.json").read_text())["protocols"]
    assert (outcome["metric"], outcome["out"]) == ("cosine", str(folder / "results.json"))
    code, printed, _ = vreid("evaluate", folder)
    assert code == 0
    assert [line.split()[:3] for line in printed.splitlines()].count(["toy", "on", "walkers/tiny,"]) == 1  # one table
    assert printed.endswith(f"\n{folder / 'results.json'}\n")
    code, _, said = vreid("evaluate", folder, "--set=metrik=cosine")
    assert code == 2
    assert "did you mean config.evaluation.metric" in said
    code, _, said = vreid("evaluate", folder, "--set=metric")
    assert (code, said) == (2, "vreid evaluate: --set=metric is not FIELD=VALUE\n")
    code, printed, said = vreid("evaluate", folder, "--set=baselines=('color_histogram',)", "--json")
    assert code == 0, said
    assert list(json.loads(printed)["baselines"]) == ["color_histogram"]


def test_the_command_scores_a_workdir_by_a_folder_of_pictures(vreid, workdir, write_folder, tmp_path):
    run, people = shutil.copytree(workdir, tmp_path / "run"), write_folder(tmp_path / "people", pids=())
    code, _, said = vreid("evaluate", run, f"--path={people}")
    assert (code, said) == (
        2,
        "vreid evaluate: --path and --bad-frames are of the dataset folder: add --set=dataset=folder\n",
    )
    code, printed, said = vreid("evaluate", run, "--set=dataset=folder", f"--path={people}", "--json")
    assert code == 0, said
    outcome = json.loads(printed)
    assert (outcome["dataset"], outcome["path"], outcome["trained_on"]) == ("folder", str(people), "walkers/tiny")
    assert outcome["protocols"]["folder"]["num_queries"] == 3


def test_a_model_file_gives_the_same_vectors_and_tells_what_it_is(vreid, workdir, model, tmp_path):
    file = tmp_path / "toy.safetensors"
    code, printed, said = vreid("convert", workdir, f"--out={file}", "--licence=Apache-2.0", "--json")
    assert code == 0, said
    told = json.loads(printed)
    results = json.loads((workdir / "results.json").read_text())
    assert (told["licence"], told["dataset"], told["system"]) == ("Apache-2.0", "walkers", "toy")
    assert told["scores"]["walkers"]["mAP"] == results["protocols"]["walkers"]["mAP"]
    loaded = vreid_jax.load(file)
    assert told["fingerprint"] == loaded.fingerprint == model.fingerprint
    assert loaded.about["open_set"] == results["open_set"]
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.embed(frames), model.embed(frames))
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
        assert any(name.startswith("params/") for name in opened.keys())  # noqa: SIM118
    seen = json.loads(metadata["preprocessing"])
    assert (seen["height"], seen["width"], tuple(seen["mean"]), seen["scale"]) == (32, 16, model.mean, 1 / 255)
    assert {name: clip["length"] for name, clip in seen["clips"].items()} == {"spatial": 1, "temporal": 2}
    assert json.loads(metadata["config"])["system"] == "toy"
    assert (metadata["dataset"], metadata["library_version"]) == ("walkers", vreid_jax.__version__)
    assert json.loads(metadata["scores"]) == told["scores"]
    assert f"trained on {metadata['dataset']}" in (tmp_path / "toy.md").read_text()
    code, _, said = vreid("convert", workdir, f"--out={file}")
    assert code == 2
    assert "is there already" in said


def test_a_file_of_other_weights_is_not_a_model(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="does not say which model it is of"):
        vreid_jax.load(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        vreid_jax.load(tmp_path / "broken.safetensors")
