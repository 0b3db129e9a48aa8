"""What a run refuses, before any training or in the middle of it, and that nothing is lost or overwritten then."""

import dataclasses
import json
import math
import os
import shutil
import types

import numpy as np
import pytest

from vreid_jax import evaluation, experiment, files, inference, models, report
from vreid_jax.cli import command
from vreid_jax.data import TrackletSource
from vreid_jax.errors import InputError, NonFiniteLoss
from vreid_jax.experiment.preflight import check_evaluation, check_reached
from vreid_jax.experiment.setup import make_setup
from vreid_jax.experiment.workdir import only_trainer, open_workdir
from vreid_jax.inference.convert import convert
from vreid_jax.training.position import Position


def test_a_workdir_of_another_configuration_names_the_fields_and_stays_as_it_is(finished, toy, tree):
    workdir, _, _ = finished
    before = tree(workdir)
    toy.seed = 5
    toy.phases.temporal.optimizer.learning_rate = 0.5
    with pytest.raises(InputError) as error:
        experiment.train_and_evaluate(toy, workdir)
    assert "seed was 0, is 5" in str(error.value)
    assert "phases.temporal.optimizer.learning_rate was 0.001, is 0.5" in str(error.value)
    assert "spatial" not in str(error.value)
    assert tree(workdir) == before


def test_a_folder_that_holds_something_else_is_refused(toy, tmp_path, tree):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and does not hold a run"):
        experiment.train_and_evaluate(toy, tmp_path)
    assert tree(tmp_path) == {"thesis.tex": b"precious"}
    with pytest.raises(InputError, match="is a file; it must be a folder"):
        experiment.train_and_evaluate(toy, tmp_path / "thesis.tex")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase_order": ("spatial", "third")}, "phase_order names 'third', but the phases are spatial, temporal"),
        ({"phase_order": ()}, "phase_order is empty"),
        ({"data.mean": (0.5,)}, r"data.mean is \(0.5,\); it must be three numbers"),
        ({"data.std": (0.2, 0.2, 0.0)}, r"data.std\[2\] is 0.0; it must be above 0"),
        ({"dtype": "float8"}, "dtype is 'float8'; it is one of auto, float32, bfloat16, float16"),
        ({"model.name": "toyy"}, "there is no model 'toyy', did you mean 'toy'"),
        ({"phases.temporal.identities_per_batch": 20, "phases.temporal.batch_size": 40}, "16 identities, fewer than"),
        ({"phases.temporal.train": ("nothing",)}, "phase temporal: train names 'nothing', which matches no parameter"),
        ({"phases.spatial.train": ("spatial/.*", "spatail/.*")}, "phase spatial: train names 'spatail/"),
        ({"phases.spatial.train": ("(",)}, r"phases.spatial.train\[0\] is '\('; it must be a regular expression"),
        ({"phases.spatial.lr_multipliers": (("haed/.*", 2.0),)}, "phase spatial: lr_multipliers names 'haed/"),
        ({"phases.spatial.augment.flip": 7.0}, "phases.spatial.augment.flip is 7.0; it is a probability"),
        ({"phases.spatial.sampler": "idntity"}, "phase spatial: sampler is 'idntity'"),
        ({"phases.temporal.accumulation_steps": 4}, "phases.temporal.accumulation_steps = 4 leaves 1 of 4 identities"),
        ({"phases.temporal.accumulation_steps": 8}, r"leaves 0.5 of 4 identities to a microbatch; it takes whole ones"),
        ({"model.dropout": 1.5}, "model 'toy': dropout is 1.5; it must be at least 0 and below 1"),
        ({"data.validation": 1.0}, "data.validation is 1.0; it must be at least 0 and below 1"),
        ({"data.validation": 0.001}, "data.validation is 0.001, which of the 16 training people .* holds out 0, of 16"),
        ({"data.height": 0}, "data.height is 0; it must be at least 1"),
        ({"data.bad_frames": "skp"}, "data.bad_frames is 'skp'; it is one of error, skip"),
        ({"logging.every_steps": 0}, "logging.every_steps is 0"),
        ({"checkpoint.every_steps": -1}, "checkpoint.every_steps is -1"),
        ({"checkpoint.every_minutes": -1.0}, "checkpoint.every_minutes is -1.0"),
        ({"checkpoint.keep": 0}, "checkpoint.keep is 0"),
        ({"init_from": "/not/there"}, "init_from /not/there is not there: give a run's workdir"),
        ({"phases.temporal.losses.triplet.weight": 0.0, "phases.temporal.losses.softmax.weight": 0.0}, "weight 0"),
        ({"evaluation.baselines": ("colour",)}, "evaluation.baselines names 'colour'"),
        ({"phases.temporal.clip.kind": "all"}, "clip.kind is 'all'"),
        ({"phases.temporal.clip.length": 0}, "clip.length is 0; it must be at least 1"),
        ({"evaluation.streams.temporal.clip.stride": 0}, "clip.stride is 0; it must be at least 1"),
        ({"phases.temporal.identities_per_batch": 0}, "identities_per_batch is 0; it must be at least 1"),
        ({"phases.temporal.accumulation_steps": 0}, "accumulation_steps is 0; it must be at least 1"),
        (
            {"phases.temporal.losses.oim.weight": 1.0, "phases.temporal.losses.oim.queue": -1},
            "phases.temporal.losses.oim.queue is -1; it must not be negative",
        ),
        ({"evaluation.streams.spatial.clip.kind": "random"}, "clip.kind is 'random'"),
        ({"evaluation.protocols": ("marss",)}, "marss"),
        ({"evaluation.selections": ("some/all",)}, "selections names 'some/all'; it is PROBE/GALLERY"),
        (
            {"evaluation.metric": "manhattan"},
            "evaluation.metric is 'manhattan'; it is one of euclidean, .* xqda, kissme",
        ),
        ({"seed": -1}, "seed is -1; it must be at least 0 and below"),
        ({"seed": 2**32}, "it must be at least 0 and below"),
        ({"evaluation.shortlist": -1}, "evaluation.shortlist is -1; it must not be negative"),
        ({"evaluation.shortlist_exact": True}, "shortlist_exact is True; it takes a shortlist above 0"),
        ({"evaluation.shortlist": 5}, "evaluation.shortlist is 5; it is for a system that compares sets of clips"),
        ({"data.path": "people"}, "data.path is 'people', which dataset walkers does not read"),
        ({"phases.temporal.identities_per_batch": 8}, "= 8 leave a loss nothing to compare: a batch needs"),
        ({"phases.temporal.identities_per_batch": 1}, "identities_per_batch = 1 leave a loss nothing"),
        ({"phase_order": ("spatial", "temporal", "spatial")}, "phase_order names a phase twice"),
        ({"dataset": "duke_video"}, "data.name is 'walkers/tiny', which does not belong to dataset 'duke_video'"),
        ({"phases.spatial.schedule.boundaries": (10,)}, r"spatial.schedule.boundaries\[0\] is 10; it is a fraction"),
        ({"phases.spatial.schedule.boundaries": ("a",)}, r"boundaries\[0\] is 'a'; it must be a number"),
        ({"phases.spatial.schedule.start": 2.0}, "schedule.start is 2.0; it is a fraction of the phase"),
        ({"phases.spatial.schedule.final_factor": 0.0}, "schedule.final_factor is 0.0; it must be above 0"),
        ({"phases.spatial.schedule.warmup_steps": -3}, "schedule.warmup_steps is -3; it must not be negative"),
        ({"phases.spatial.optimizer.learning_rate": -0.1}, "optimizer.learning_rate is -0.1; it must not be negative"),
        ({"phases.spatial.optimizer.learning_rate": math.nan}, "optimizer.learning_rate is nan"),
        ({"phases.spatial.optimizer.learning_rate": math.inf}, "optimizer.learning_rate is inf"),
        ({"phases.spatial.optimizer.weight_decay": -1.0}, "optimizer.weight_decay is -1.0"),
        ({"phases.temporal.optimizer.b1": 1.0}, "temporal.optimizer.b1 is 1.0; it must be at least 0 and below 1"),
        ({"phases.spatial.losses.softmax.weight": -1.0}, "losses.softmax.weight is -1.0; it must not be negative"),
        (
            {"phases.spatial.lr_multipliers": ("spatial/.*", 2.0)},
            r"lr_multipliers\[0\] is 'spatial/\.\*'; it must be a tuple of 2: text, a number",
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_training(toy, tmp_path, changes, words):
    toy.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=words):
        experiment.train_and_evaluate(toy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def stopped(finished, tmp_path):
    """The finished run as it would be if it had been stopped after its phase `spatial`."""
    workdir = shutil.copytree(finished[0], tmp_path / "stopped")
    for step in ("6", "8"):
        shutil.rmtree(workdir / "checkpoints" / step)
    return workdir


def test_the_scores_of_a_stopped_run_say_that_it_was_stopped(finished, toy, stopped, capsys):
    words = "the run was stopped in its phase 'spatial', after 4 of 4 steps, before 'temporal'"
    experiment.train_and_evaluate(toy, stopped, "evaluate")
    assert f"Warning: {words}." in capsys.readouterr().out
    assert json.loads((stopped / "results.json").read_text())["unfinished"] == words
    whole = make_setup(toy, finished[0])
    assert check_reached(whole, Position("temporal", 4, 4, 1.0)) == ""
    assert check_reached(whole, Position("temporal", 3, 4, 1.0)) == words.replace("spatial", "temporal").replace(
        "after 4 of 4 steps, before 'temporal'", "after 3 of 4 steps"
    )


def test_a_stopped_run_is_not_scored_by_a_part_that_only_later_phases_train(toy, stopped, tree, monkeypatch):
    before = tree(stopped)
    module = models.entry("toy").module
    monkeypatch.setattr(module, "trained_parts", lambda self, stream: {stream: stream}, raising=False)
    with pytest.raises(
        InputError, match=r"before 'temporal': .* would score the part 'temporal' .*untrained; go on with"
    ):
        experiment.train_and_evaluate(toy, stopped, "evaluate")
    assert tree(stopped) == before
    brought = Position("spatial", 4, 0, 1.0, inherited=("params/temporal/conv/kernel",))
    assert "stopped in its phase 'spatial'" in check_reached(make_setup(toy, stopped), brought)


def test_re_ranking_with_some_queries_in_the_gallery_is_refused_before_any_training(toy, tmp_path):
    toy.evaluation.rerank = True
    whole = make_setup(toy, tmp_path / "run")
    check_evaluation(whole)  # all of them are in it
    query, gallery = whole.test.query, whole.test.gallery
    others = gallery.part(np.flatnonzero(gallery.tracklet_ids != query.tracklet_ids[0]), "gallery")
    partly = dataclasses.replace(whole, test=evaluation.make_test_set(query, others))
    with pytest.raises(InputError, match=r"1 of 18 query tracklets are not in the gallery, .* for re-ranking all"):
        check_evaluation(partly)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (os.fsdecode(b"run-\xff"), "cannot be used: it is not UTF-8"),
        ("run[1]", r"holds '\[': Orbax could not read back"),
        ("a\\b", "Orbax could not read back"),
        ("x" * 300, "cannot be used: File name too long"),
        ("~nobody-of-this-name", "names a user who does not exist"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_path_that_cannot_be_a_workdir_is_said_before_any_training(toy, tmp_path, monkeypatch, name, words, mode):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words if mode == "train" else None):
        experiment.train_and_evaluate(toy, name, mode)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["checkpoints", "features", "tensorboard", "config.json", "metrics.jsonl", "results.json"]
)
def test_what_is_in_the_way_of_a_run_is_said_before_any_training(toy, tmp_path, name):
    if "." in name:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=f"{name} is in the way: it must be a {'file' if '.' in name else 'folder'}"):
        experiment.train_and_evaluate(toy, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_written_to_is_said_before_any_training(toy, tmp_path, monkeypatch):
    """Also where the system lets the administrator, as whom tests may run, write anywhere."""
    asked = []

    def refused(path, mode):
        asked.append(path)
        return False

    monkeypatch.setattr(os, "access", refused)
    with pytest.raises(InputError, match=r"cannot write to .*, where the run would be kept: use another workdir"):
        experiment.train_and_evaluate(toy, tmp_path / "deep" / "run")
    assert asked == [tmp_path]
    assert not any(tmp_path.iterdir())


def test_a_disk_without_room_for_a_checkpoint_is_said_before_the_first_step(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"checkpoints has 0.0 MB of free space, and a checkpoint takes \d"):
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == ""


def test_the_next_run_removes_what_a_killed_one_left_half_written(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "YOUNG", 0.0)
    open_workdir(tmp_path, toy)
    (tmp_path / "features").mkdir()
    for half in (tmp_path / ".config.json.1234abcd.partial", tmp_path / "features" / ".spatial.npz.1234abcd.partial"):
        half.write_text("ha")
    open_workdir(tmp_path, toy)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "features"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is damaged: it is not valid JSON"),
        ("null", "is damaged: it is null instead of an object"),
        ("[]", r"is damaged: it is \[\] instead of an object"),
        ('"text"', "is damaged: it is .text. instead of an object"),
        ("{}", "is damaged: it lacks system"),
        ({"model": 5}, "is damaged: model is 5 instead of an object"),
        ({"data": None}, "is damaged: data is null instead of an object"),
        ({"evaluation": [1]}, r"is damaged: evaluation is \[1\] instead of an object"),
        ({"phases": {"spatial": 3}}, "is damaged: phases.spatial is 3 instead of an object"),
        ({"seed": "0"}, "is damaged: seed is .0. instead of a whole number"),
        ({"a.b": 1}, "is damaged: "),
    ],
)
def test_a_damaged_configuration_of_a_run_is_one_sentence_everywhere(toy, tmp_path, content, words):
    whole = json.loads(toy.to_json())
    (tmp_path / "config.json").write_text(content if isinstance(content, str) else json.dumps(whole | content))
    for use in (
        lambda: experiment.train_and_evaluate(toy, tmp_path),
        lambda: inference.load(tmp_path),
        lambda: report.write_report(tmp_path),
    ):
        with pytest.raises(InputError, match=rf"config\.json {words}"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "new/run"],
        ["evaluate", "~nobody-of-this-name/run"],
        ["report", "new/run"],
        ["report", "new/a", "new/b", "--out=deep/page.html"],
        ["convert", "new/run", "--out=new/m.safetensors"],
        ["convert", "new/run", "--out=m.safetensors"],
        ["convert", "weights.pth", "--model=resnet50", "--out=m.safetensors"],
    ],
    ids=" ".join,
)
def test_a_refused_command_leaves_nothing_behind(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_a_system_refuses_a_run_before_it_begins_and_knows_what_comes_trained(finished, toy, tmp_path, monkeypatch):
    asked = []

    def check_run(module, settings, kept, source):
        asked.append((tuple(settings.phases), set(kept), source))
        raise InputError("another run, please")

    monkeypatch.setattr(models.entry("toy").module, "check_run", check_run, raising=False)
    convert(finished[0], tmp_path / "model.safetensors")
    toy.init_patterns = ("spatial/head/.*", "nothing")
    for start in ("", str(finished[0]), str(tmp_path / "model.safetensors")):
        toy.init_from = start
        with pytest.raises(InputError, match="another run, please"):
            experiment.train_and_evaluate(toy, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    (_, none, nothing), (phases, kept, run), (_, same, file) = asked
    assert (none, nothing, phases) == (set(), {}, ("spatial", "temporal"))
    assert "params/spatial/head/feature/kernel" in kept == same
    assert not any("temporal" in name for name in kept)
    assert run == json.loads((finished[0] / "config.json").read_text())
    assert file["model"]["width"] == run["model"]["width"]


def test_the_length_of_a_finished_phase_cannot_change(finished, toy):
    before = (finished[0] / "config.json").read_text()
    toy.phases.spatial.total_steps = 9
    with pytest.raises(InputError, match="before temporal were finished with 4 steps and now have 9"):
        experiment.train_and_evaluate(toy, finished[0])
    assert (finished[0] / "config.json").read_text() == before


def test_a_phase_cannot_become_shorter_than_it_is(finished, toy):
    before = (finished[0] / "config.json").read_text()
    toy.phases.temporal.total_steps = 3
    with pytest.raises(
        InputError, match="phase temporal has done 4 steps already, and is to have 3: it can only become"
    ):
        experiment.train_and_evaluate(toy, finished[0])
    assert (finished[0] / "config.json").read_text() == before


def test_training_does_not_go_on_with_other_tracklets(finished, toy, tmp_path, monkeypatch):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    toy.phases.temporal.total_steps = 5
    monkeypatch.setattr(TrackletSource, "digest", lambda source: f"other {source.split}")
    with pytest.raises(InputError, match="the training split of walkers/tiny is not the one that this run began with"):
        experiment.train_and_evaluate(toy, workdir)
    experiment.train_and_evaluate(toy, workdir, "evaluate")


def test_parameters_that_are_not_numbers_are_not_saved(toy, tmp_path):
    """The update of a step with a good loss may be what breaks the network."""
    toy.phases.spatial.optimizer.learning_rate = 1e30
    toy.phases.spatial.lr_multipliers = ((".*", 1e30),)  # the product is infinite in float32
    toy.checkpoint.every_steps = 1
    with pytest.raises(
        NonFiniteLoss, match="a parameter is not a finite number at step 1 of phase spatial; no checkpoint is from"
    ):
        experiment.train_and_evaluate(toy, tmp_path / "run", "train")
    assert not any(path.name.isdigit() for path in (tmp_path / "run" / "checkpoints").iterdir())


def test_a_second_training_in_a_workdir_is_refused(finished, toy):
    before = (finished[0] / "config.json").read_text()
    toy.phases.temporal.total_steps = 77
    with only_trainer(finished[0]), pytest.raises(InputError, match="another process trains in workdir"):
        experiment.train_and_evaluate(toy, finished[0])
    assert (finished[0] / "config.json").read_text() == before
    toy.phases.temporal.total_steps = 4
    with only_trainer(finished[0]), pytest.raises(InputError, match="another process trains in workdir"):
        experiment.train_and_evaluate(toy, finished[0])
    with only_trainer(finished[0]):
        experiment.train_and_evaluate(toy, finished[0], "evaluate")
