import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grain  # noqa: F401  its flags must exist before they are saved
import pytest
from absl.testing import flagsaver

from vreid_jax import main

ROOT = Path(__file__).parents[1]
M3D = str(ROOT / "configs" / "m3d.py")
DICTIONARY = "def get_config(argument):\n    return {'seed': 0}\n"
OTHER = str(ROOT / "tests" / "files_test.py")  # is not a configuration


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """Run the command line here; returns the exit code (0 if it came to its end) and what stood on the two streams."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*flags):
        own = [f"--workdir={tmp_path / 'run'}"]
        monkeypatch.setattr(sys, "argv", ["main", *flags, *own])  # ml_collections looks there, too
        with flagsaver.flagsaver():
            try:
                main.parse_flags(sys.argv)
                main.main([])
                code = 0
            except SystemExit as leaving:
                code = leaving.code
        printed = capsys.readouterr()
        return code, printed.err, printed.out

    yield run
    signal.signal(signal.SIGTERM, handler)


def one_sentence(outcome):
    code, said, _ = outcome
    lines = [line for line in said.splitlines() if line.strip()]
    assert code == 2, said
    assert len(lines) == 1, said
    assert lines[0].startswith("vreid_jax: ")
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([f"--config={M3D}", "--config.phases.spatial.optimizer.learning_rte=1"], "did you mean config.phases.spatial"),
        ([f"--config={M3D}", "--config.sede=1"], "there is no field config.sede; did you mean config.seed?"),
        ([f"--config={M3D}:marsh"], "there is no dataset 'marsh', did you mean 'mars'?"),
        ([f"--config={M3D}:walkers,sede=1"], "there is no field config.sede; did you mean config.seed?"),
        ([f"--config={M3D}", "--config.seed=three"], "three"),
        (["--config", f"{M3D}:marsh"], "there is no dataset 'marsh', did you mean 'mars'?"),
        (["--config", M3D, "--config.sede=1"], "there is no field config.sede; did you mean config.seed?"),
        ([f"--config={M3D}:walkers/tiny"], "dataset 'walkers/tiny' is written walkers,data.name=walkers/tiny"),
        ([f"--config={M3D}:walkers,clip_length=x"], "clip_length is 'x'; it is a number of frames, at least 1"),
        ([f"--config={ROOT / 'README.md'}"], " is not a configuration: SyntaxError: "),
        ([f"--config={OTHER}"], f"{OTHER} line 1 is not a configuration: AttributeError"),
        ([f"--config={M3D}", "--config.data.hieght=3"], "config.data.height?"),
        (["--config=configs/m4d.py"], "there is no configuration file configs/m4d.py, did you mean 'm3d'?"),
        (["--config=m4d"], "there is no configuration file m4d, did you mean 'm3d'?"),
        (["--config", "m4d:mars"], "there is no configuration file m4d, did you mean 'm3d'?"),
        (["--config=m3d:marsh"], "there is no dataset 'marsh', did you mean 'mars'?"),
        (["--config", "m3d", "--config.sede=1"], "there is no field config.sede; did you mean config.seed?"),
        ([f"--config={M3D}", "--workdri=x"], "workdri"),
        ([f"--config={M3D}", "seed=1"], "'seed=1' is not a flag; fields are set as --config.field=value"),
        ([f"--config={M3D}", "--mode=test"], "mode is 'test'; it is one of train_and_evaluate, train, evaluate"),
        ([f"--config={M3D}:folder"], "needs the field path"),
        ([f"--config={M3D}:folder,path=/not/there"], "/not/there is not a folder"),
        ([f"--config={M3D}:mars"], "dataset 'mars_video'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_code_2(call, flags, words, tmp_path):
    settings = [f"--config.data.data_dir={tmp_path}"] if flags[0].startswith(f"--config={M3D}") else []
    assert words in one_sentence(call(*flags, *settings))
    assert not (tmp_path / "run").exists()


def test_a_configuration_of_another_type_is_named(call, tmp_path):
    (tmp_path / "mine.py").write_text(DICTIONARY)
    said = one_sentence(call(f"--config={tmp_path / 'mine.py'}"))
    assert said.endswith("mine.py returns a dict; it must return a ConfigDict")


def test_without_a_configuration_it_says_what_to_give():
    """In a process of its own, as a user starts it."""
    done = start()
    assert done.returncode == 2
    assert "give --config" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def start(*flags):
    command = [sys.executable, "-m", "vreid_jax.main", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_the_flags_and_ends_well(call, flag):
    code, _, printed = call(flag)
    assert code == 0
    assert "--config=FILE[:DATASET[,key=value…]]" in printed
    assert "DATASET is one of walkers, mars" in printed


def test_an_interruption_before_training_is_one_sentence(monkeypatch, capsys):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(main.app, "run", interrupted)
    with pytest.raises(SystemExit) as leaving:
        main.run()
    signal.signal(signal.SIGTERM, before)
    assert leaving.value.code == 130
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err


@pytest.fixture
def folder_flags(toy_file, tmp_path):
    def flags(path, **changes):
        fields = {"data.data_dir": tmp_path / "datasets", **changes}
        fields |= {"phases.spatial.total_steps": 1, "phases.temporal.total_steps": 1, "evaluation.baselines": "()"}
        return [f"--config={toy_file}:folder,path={path}", *(f"--config.{k}={v}" for k, v in fields.items())]

    return flags


def test_queries_that_nobody_can_answer_are_named_before_training(call, folder_flags, write_folder, tmp_path):
    root = write_folder(tmp_path / "people", gallery_pids=(21, 22))
    assert "no query of protocol" in one_sentence(call(*folder_flags(root)))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def diverging(toy_file, data_dir):
    fields = {"data.data_dir": data_dir, "phase_order": "('spatial',)", "checkpoint.every_steps": 1}
    fields |= {"phases.spatial.optimizer.learning_rate": 1e38, "logging.every_steps": 2}
    flags = [f"--config={toy_file}", "--mode=train"]
    return [*flags, *(f"--config.{name}={value}" for name, value in fields.items())]


DIVERGED = "the loss is nan at step 2 of phase spatial; the last good checkpoint is step 1"


def test_a_loss_that_is_not_a_number_keeps_what_was_saved_and_ends_in_one_sentence(call, diverging, tmp_path):
    for _ in range(2):
        code, said, _ = call(*diverging)
        assert code == 1
        assert DIVERGED in said.splitlines()[-1]
        assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["1"]


@pytest.mark.slow
def test_a_process_whose_loss_is_not_a_number_ends_in_one_sentence(diverging, tmp_path):
    """At the end of a process Orbax could not finish a save any more."""
    for _ in range(2):
        done = start(*diverging, f"--workdir={tmp_path / 'run'}")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert DIVERGED in done.stderr.splitlines()[-1]
        assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["1"]


def test_a_tracklet_without_frames_is_named(call, folder_flags, write_folder, tmp_path):
    root = write_folder(tmp_path / "people")
    empty = root / "train" / "3" / "c1_walk"
    for frame in empty.iterdir():
        frame.unlink()
    assert f"{empty} has no frames" in one_sentence(call(*folder_flags(root)))
    assert not (tmp_path / "run").exists()


def test_an_unreadable_image_is_named_or_skipped_and_counted(call, folder_flags, write_folder, tmp_path):
    root = write_folder(tmp_path / "people")
    broken = [root / "train" / "3" / "c1_walk" / "1.png", root / "gallery" / "12" / "c2_walk" / "0.png"]
    broken[0].write_bytes(b"no picture")
    broken[1].write_bytes(b"")
    assert f"{broken[0]} is not a readable image" in one_sentence(call(*folder_flags(root)))
    assert not (tmp_path / "run").exists()
    code, said, printed = call(*folder_flags(root, **{"data.bad_frames": "skip"}))
    assert code == 0, said
    assert "2 unreadable frames were skipped" in printed
    assert json.loads((tmp_path / "run" / "results.json").read_text())["skipped_frames"] == 2


def test_too_few_identities_for_a_batch_are_named(call, folder_flags, write_folder, tmp_path):
    root = write_folder(tmp_path / "people", pids=(1, 2, 3))
    sentence = one_sentence(call(*folder_flags(root)))
    assert "the training split has 3 identities, fewer than the 4 of a P x K batch" in sentence
    assert not (tmp_path / "run").exists()


def test_a_query_without_a_match_is_counted_and_said(call, folder_flags, write_folder, tmp_path):
    root = write_folder(tmp_path / "people", gallery_pids=(11, 12, 14))
    code, said, printed = call(*folder_flags(root))
    assert code == 0, said
    assert "1 queries have no match in the gallery and are left out" in printed
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["invalid_queries"] == 1
    (scores,) = results["protocols"].values()
    assert (scores["num_queries"], scores["num_valid_queries"], scores["num_gallery"]) == (3, 2, 3)
