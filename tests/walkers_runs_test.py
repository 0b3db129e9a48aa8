"""Results on walkers that were kept are read only where the configuration that is asked for found them; what starts first."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from vreid_jax.errors import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHORT = {"phases.clips.total_steps": 10}


@pytest.fixture
def runs(monkeypatch):
    """The module, whose runs find the number of their training at once; `runs.trained` counts them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("walkers_runs")
    monkeypatch.setattr(module, "trained", [], raising=False)

    def train_and_evaluate(config, workdir, mode):
        module.trained.append((workdir.name, mode))
        return SimpleNamespace(content=lambda: {"found": len(module.trained)})

    monkeypatch.setattr(module, "train_and_evaluate", train_and_evaluate)
    return module


def write_run(runs, out, changes):
    """The folder of a run, of which results were kept without their configuration."""
    folder = out / "row-seed1"
    folder.mkdir()
    (folder / "config.json").write_text(runs.configuration("nonlocal3d", {"seed": 1, **changes}).to_json())


def test_results_are_read_back(runs, tmp_path):
    assert runs.run("nonlocal3d", "row", 1, tmp_path, SHORT)["found"] == 1
    assert runs.run("nonlocal3d", "row", 1, tmp_path, SHORT)["found"] == 1
    assert runs.run("nonlocal3d", "row", 1, tmp_path, SHORT, "jitter")["found"] == 2
    assert runs.run("nonlocal3d", "row", 1, tmp_path, SHORT, "jitter")["found"] == 2
    assert runs.trained == [("row-seed1", "train_and_evaluate"), ("row-seed1", "evaluate")]


@pytest.mark.parametrize("control", ["", "jitter"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "phases.clips.total_steps was 10, is 800"),
        ({**SHORT, "model.non_local": False}, "model.non_local was True, is False"),
        ({**SHORT, "evaluation.streams.clips.clip.stride": 1}, "evaluation.streams.clips.clip.stride was 2, is 1"),
        ({**SHORT, "init_from": "runs/other-seed1"}, "init_from was '', is 'other-seed1'"),
    ],
)
def test_results_of_another_configuration_are_refused(changes, words, control, runs, tmp_path):
    runs.run("nonlocal3d", "row", 1, tmp_path, SHORT, control)
    with pytest.raises(InputError, match=f"row-seed1.* is of another configuration: {words}. Use another"):
        runs.run("nonlocal3d", "row", 1, tmp_path, changes, control)


def test_where_a_run_lies_and_what_it_says_do_not_matter(runs, tmp_path):
    here = {"init_from": "runs/here/start-seed1"}
    there = {
        "init_from": "/there/start-seed1",
        "logging.progress": False,
        "data.num_threads": 9,
        "data.data_dir": "/there",
    }
    runs.run("nonlocal3d", "row", 1, tmp_path, here)
    assert runs.run("nonlocal3d", "row", 1, tmp_path, there)["found"] == 1


@pytest.mark.parametrize("name", ["row-seed1.json", "row-seed1-jitter.json"])
def test_results_without_their_configuration_are_of_that_of_the_run(name, runs, tmp_path):
    (tmp_path / name).write_text('{"found": 7}')
    control = "jitter" if "jitter" in name else ""
    write_run(runs, tmp_path, SHORT)
    assert runs.run("nonlocal3d", "row", 1, tmp_path, SHORT, control)["found"] == 7
    with pytest.raises(InputError, match="total_steps was 10, is 800"):
        runs.run("nonlocal3d", "row", 1, tmp_path, {}, control)


def test_results_without_any_configuration_are_trusted(runs, tmp_path):
    (tmp_path / "row-seed1.json").write_text('{"found": 7}')
    assert runs.run("nonlocal3d", "row", 1, tmp_path, {})["found"] == 7
    assert runs.trained == []


def test_a_run_that_has_begun_with_another_configuration_does_not_go_on(runs, tmp_path):
    write_run(runs, tmp_path, SHORT)
    with pytest.raises(InputError, match=r"row-seed1 is of another configuration: phases\.clips\.total_steps was 10"):
        runs.run("nonlocal3d", "row", 1, tmp_path, {})
    assert runs.trained == []
    scored_otherwise = {**SHORT, "evaluation.streams.clips.clip.stride": 1}
    assert runs.run("nonlocal3d", "row", 1, tmp_path, scored_otherwise)["found"] == 1


def test_where_only_the_evaluation_differs_the_run_stays(runs, tmp_path):
    runs.run("nonlocal3d", "row", 1, tmp_path, SHORT)
    with pytest.raises(InputError, match="remove the file, to score the run again"):
        runs.run("nonlocal3d", "row", 1, tmp_path, {**SHORT, "evaluation.streams.clips.clip.stride": 1})
    with pytest.raises(InputError, match="remove this run and all that started from it"):
        runs.run("nonlocal3d", "row", 1, tmp_path, {})


def test_a_row_with_optical_flow_first_finishes_the_row_that_it_begins_with(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("two_stream_table")
    started = []

    def run(system, name, seed, out, changes, control="", argument="walkers"):
        started.append((name, seed, control))

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.m3d_table, "run", run)
    monkeypatch.setattr(module, "setup_process", lambda: None)
    monkeypatch.setattr("sys.argv", ["two_stream_table.py", f"--out={tmp_path}", "--seeds=4", "--rows=vlad,flow"])
    module.main()
    assert started == [
        *(("vgg", 4, ""), ("vlad", 4, ""), ("vlad", 4, "shuffled")),
        *(("2d", 4, ""), ("flow", 4, ""), ("flow", 4, "shuffled")),
    ]
