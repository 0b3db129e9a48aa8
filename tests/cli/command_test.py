import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vreid_jax import main
from vreid_jax.cli import archive, command, data
from vreid_jax.errors import InputError, Interrupted, NonFiniteLoss, Terminated
from vreid_jax.runtime import command_process, exit_codes
from vreid_jax.runtime.exit_codes import leave

GROUPS = {"data": data, "archive": archive}
NAMES = [(name,) for name in command.SUBCOMMANDS] + [(name, part) for name in GROUPS for part in GROUPS[name].COMMANDS]


@pytest.mark.parametrize("name", NAMES, ids=" ".join)
def test_every_subcommand_has_help_with_an_example(capsys, name):
    assert command.main([*name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"example:\n  vreid {' '.join(name)} ", printed), printed


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in {("train",), ("data",), ("archive",)}], ids=" ".join
)
def test_every_subcommand_with_an_outcome_prints_it_as_json(capsys, name):
    command.main([*name, "--help"])
    assert "--json" in capsys.readouterr().out


def test_the_overview_names_every_subcommand_in_a_line(capsys):
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"\n  {name} +[A-Z].*\.\n", printed) for name in command.SUBCOMMANDS)
    assert command.main([]) == 2
    assert command.main(["--version"]) == 0


def test_help_imports_nothing_that_takes_time():
    """NumPy, too: help is there before a finger has left the key."""
    code = "import sys; from vreid_jax.cli import command; command.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    assert "vreid_jax.cli.search" in imported
    assert not imported & {"jax", "numpy", "cv2", "ml_collections", "absl", "tensorflow_datasets"}


def test_an_unknown_subcommand_is_one_sentence_and_exit_code_2(capsys):
    assert command.main(["sreach"]) == 2
    assert "there is no subcommand 'sreach'; they are train, evaluate" in capsys.readouterr().err
    assert command.main(["data", "paint"]) == 2
    assert "invalid choice: 'paint'" in capsys.readouterr().err
    assert command.main(["data"]) == 2


def test_a_dataset_is_built_by_its_name(capsys, data_dir):
    assert command.main(["data", "build", "walkers/tiny", f"--data-dir={data_dir}"]) == 0
    assert "query 18" in capsys.readouterr().out
    assert command.main(["data", "build", "walkers/tiny", f"--data-dir={data_dir}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tracklets"]["query"] == 18
    assert command.main(["data", "build", "walkers/tinny", f"--data-dir={data_dir}"]) == 2
    assert capsys.readouterr().err.startswith("vreid data build: ")
    assert command.main(["data", "show", "walkers/tinny", "--out=sheet.png"]) == 2
    assert capsys.readouterr().err.startswith("vreid data show: ")


@pytest.mark.parametrize("name", ["attention", "responses", "clip-pairs", "data show"])
def test_a_picture_is_not_drawn_over_a_file(capsys, tmp_path, name):
    for out in (tmp_path / "picture.png", tmp_path / "link.png"):
        out.write_text("precious") if out.stem == "picture" else out.symlink_to(tmp_path / "elsewhere.png")
        given = ["walkers/tinny"] if name == "data show" else [f"--workdir={tmp_path}"]
        assert command.main([*name.split(), *given, f"--out={out}"]) == 2
        assert capsys.readouterr().err.endswith(f"{out} exists already: name another file, or remove it\n")
    assert (tmp_path / "picture.png").read_text() == "precious"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("the file is empty"), 2, "the file is empty"),
        (NonFiniteLoss("the loss is nan"), 1, "the loss is nan"),
        (OSError("no space left"), 1, "no space left"),
        (MemoryError(), 1, "MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted; it can be resumed"),
        (Terminated(), 143, "interrupted; it can be resumed"),
        (Interrupted("stopped at step 3", 15), 143, "stopped at step 3"),
    ],
)
def test_each_kind_of_error_is_one_sentence_and_has_its_exit_code(capsys, error, code, said):
    def fail(flags):
        print("underway")
        raise error

    failing = SimpleNamespace(
        __doc__="Fail.", EXAMPLE="fail", INTERRUPTED="interrupted; it can be resumed", run=fail, text=str
    )
    failing.add_arguments = lambda parser: None
    assert command.run_alone(failing, "fail", []) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"underway\nfail: {said}\n"


@pytest.mark.parametrize("error", [TypeError, NotImplementedError, RecursionError])
def test_a_mistake_in_the_program_keeps_its_traceback(error):
    with pytest.raises(error), exit_codes.exit_codes("fail"):
        raise error


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (["m3d"], ["--config=m3d"]),
        (["m3d:mars", "--config.seed=1"], ["--config=m3d:mars", "--config.seed=1"]),
        (["configs/m3d.py", "--mode", "train"], ["--config=configs/m3d.py", "--mode", "train"]),
        (["--config=m3d", "--workdir=x"], ["--config=m3d", "--workdir=x"]),
    ],
)
def test_train_takes_the_configuration_as_its_first_argument(monkeypatch, given, flags):
    seen = []
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(main, "run", lambda: seen.extend(sys.argv))
    assert command.main(["train", *given]) == 0
    assert seen == ["vreid train", *flags]


def test_train_says_what_is_wrong_under_its_own_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert command.main(["train", "m3d", "--config=m3d"]) == 2
    assert capsys.readouterr().err == "vreid train: m3d and --config=m3d both name a configuration: give one\n"
    monkeypatch.setattr(main, "run", lambda: leave("vreid train", "no", 1))
    assert command.main(["train", "m3d"]) == 1


@pytest.mark.parametrize(
    ("module", "program"),
    [
        ("vreid_jax.convert", "vreid_jax.convert"),
        ("vreid_jax.visualize.attention", "vreid_jax.visualize.attention"),
        ("vreid_jax.visualize.responses", "vreid_jax.visualize.responses"),
        ("vreid_jax.visualize.clip_pairs", "vreid_jax.visualize.clip_pairs"),
    ],
)
def test_the_earlier_names_still_start(module, program):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert f"usage: {program} " in done.stdout


def test_a_reader_that_has_seen_enough_is_not_an_error():
    with subprocess.Popen(
        [sys.executable, "-m", "vreid_jax.cli.command", "convert", "--card"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()  # as `head` does after its last line
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")


@contextlib.contextmanager
def as_ray():
    """What waits outside Python raises Ctrl-C for every signal whose handler raises something."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


@pytest.mark.parametrize("waiting", [contextlib.nullcontext, as_ray])
def test_sigterm_ends_a_command_as_ctrl_c_does_but_for_the_exit_code(monkeypatch, capsys, waiting):
    monkeypatch.setattr(command_process, "setup_process", lambda **_: None)
    before, level = signal.getsignal(signal.SIGTERM), logging.getLogger().level
    try:
        command_process.begin()
        with pytest.raises(SystemExit) as leaving, exit_codes.exit_codes("fail", "stopped"), waiting():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.getLogger().setLevel(level)
    assert leaving.value.code == 143
    assert capsys.readouterr().err == "fail: stopped\n"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # it is not raised once more


@pytest.mark.parametrize("words", [["search", "g.parquet", "--query=x"], ["train", "m3d"]], ids=lambda words: words[0])
def test_ctrl_c_while_libraries_are_imported_is_one_sentence(monkeypatch, capsys, words):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_process, "begin", interrupted)
    monkeypatch.setattr(sys, "argv", ["vreid", *words])
    assert command.main() == 130
    assert capsys.readouterr().err == f"vreid {words[0]}: interrupted\n"
