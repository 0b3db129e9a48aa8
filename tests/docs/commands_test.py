"""Everything that the README and the documentation ask a reader to type.

Fast: every command is parsed by the program that it calls, with its configuration; nothing is trained. Slow: every page is
worked through from top to bottom in a shell, as a reader would, with networks and datasets made small.
"""

import argparse
import ast
import importlib
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import cv2
import grain  # noqa: F401  its flags must exist before they are saved
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from vreid_jax import main, models
from vreid_jax.cli import command as vreid
from vreid_jax.config import dataset_name, from_file, parse_argument, set_field
from vreid_jax.models import registry

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_A_SENTENCE = re.compile(r"`(python3? [^`]+)`")
INDENTED = re.compile(r"^\n {4,}(python3?|vreid) ", re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def _no_system_stays():
    """The example of a system registers its name when its configuration is read."""
    yield
    registry._ENTRIES.pop("statistics_pooling", None)


def blocks(page):
    """(language, text) of the fenced blocks of a page, in order."""
    return FENCE.findall((ROOT / page).read_text())


def commands(text):
    """The commands of a shell block: continued lines joined, `&&` split, comments left out."""
    lines = [re.split(r"(?:^|\s)#", line, maxsplit=1)[0] for line in text.replace("\\\n", " ").splitlines()]
    parts = [" ".join(part.split()) for line in lines for part in line.split("&&")]
    return [part for part in parts if part]


def every_command(page):
    text = (ROOT / page).read_text()
    found = [command for language, block in blocks(page) if language == "sh" for command in commands(block)]
    return found + [part for span in IN_A_SENTENCE.findall(FENCE.sub("", text)) for part in commands(span)]


class Parsed(BaseException):
    """A command understood its flags, and would now begin."""


@pytest.fixture
def check(monkeypatch):
    """Have a command parsed by what it calls; an `AssertionError` or `SystemExit` says what is wrong with it."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, arguments=None, namespace=None):
        raise Parsed(parse(self, arguments, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.chdir(ROOT)

    def check(command):
        words = shlex.split(command)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            if name == "PYTHONPATH":
                monkeypatch.syspath_prepend(ROOT / value)
        if re.fullmatch(r"python3?", words[0]):
            words.pop(0)
            if words[0] == "-m":
                return check_module(words[1], words[2:])
            assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"
            return parsed(lambda: runpy.run_path(str(ROOT / words[0]), run_name="__main__"), words)
        if words[0] == "vreid":
            if words[1] == "train":
                return check_module("vreid_jax.main", words[2:])
            return parsed(lambda: vreid.main(words[1:]), words)
        if words[0] == "sphinx-build":
            return None
        if words[0] == "ruff":
            assert words[1] in ("check", "format")
            return None
        assert words[0].startswith(".ci/"), f"nobody knows how to check {words[0]!r}"
        assert os.access(ROOT / words[0], os.X_OK)
        return None

    def check_module(name, arguments):
        if name == "vreid_jax.main":
            return check_run(arguments)
        if name == "pip":
            extras = re.fullmatch(r"install -e \.(?:\[(.+)\])?", " ".join(arguments))
            known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert extras, f"pip {arguments}"
            assert not extras[1] or set(extras[1].split(",")) <= set(known)
            return None
        if name == "pytest":
            return None
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):  # a package: `python -m` runs this module of it
            module = importlib.import_module(f"{name}.__main__")
        return parsed(module.main, [name, *arguments])

    def check_run(arguments):
        monkeypatch.setattr(sys, "argv", ["main", *arguments])  # ml_collections looks there, too
        with flagsaver.flagsaver():
            main.parse_flags(sys.argv)
            config = flags.FLAGS.config
            assert flags.FLAGS.mode in ("train_and_evaluate", "train", "evaluate")
            if config.split != "all":
                dataset_name(config)
            assert set(config.phase_order) <= set(config.phases)
            own = {name: value for name, value in config.model.items() if name != "name"}
            models.create(config.model.name, num_classes=2, **own)

    def parsed(start, words):
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert start() == 0, f"{words} was not understood"  # as --help does
            except Parsed as stopped:
                given = stopped.args[0]
                system = (
                    "clip_similarity" if "/clip-" in str(getattr(given, "workdir", "")) else "m3d"
                )  # of a page's runs
                prefix, file = (
                    ("", given.config) if hasattr(given, "config") else ("evaluation.", f"configs/{system}.py")
                )
                config = from_file(file)
                for assignment in getattr(given, "set", []):
                    for name, value in parse_argument(f"walkers,{assignment}")[1].items():
                        set_field(config, prefix + name, value)

    return check


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_understood(page, check):
    """Flags, configurations and their fields, files, extras: whatever can be wrong before anything begins."""
    assert not INDENTED.search((ROOT / page).read_text()), "commands stand in ```sh blocks, where they are checked"
    for command in every_command(page):
        try:
            check(command)
        except SystemExit as refused:
            pytest.fail(f"{command}: exit code {refused.code}")
        except Exception as error:
            pytest.fail(f"{command}: {error}")


def test_the_check_refuses_what_does_not_exist(check):
    """The test above would notice."""
    for command, kind in (
        ("python3 -m vreid_jax.main --config=configs/m3d.py --config.phases.spatial.total_stops=3", SystemExit),
        ("python -m vreid_jax.main --config=configs/m3d.py:walkers,model.name=m4d", Exception),
        ("vreid embed --model=runs/x VIDEO --trakcs=TRACKS.txt --out=x.parquet", AssertionError),
        ("vreid evaluate runs/x --set=rerang=True", Exception),
        ("python data_prep/shwo.py walkers/small", AssertionError),
        ("python3 -m pip install -e '.[serach]'", AssertionError),
        ("curl example", AssertionError),
    ):
        with pytest.raises(kind):
            check(command)


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_names_what_exists(page):
    """Every import of this library, and every attribute taken from what was imported."""
    for language, text in blocks(page):
        if language != "python":
            continue
        tree, modules = ast.parse(text), {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {
                    a.asname or a.name: importlib.import_module(a.name) for a in node.names if "vreid" in a.name
                }
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("vreid_jax"):
                for alias in node.names:
                    importlib.import_module(node.module)
                    found = _attribute(node.module, alias.name)
                    modules[alias.asname or alias.name] = found
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


def _attribute(module, name):
    parent = importlib.import_module(module)
    return getattr(parent, name) if hasattr(parent, name) else importlib.import_module(f"{module}.{name}")


def test_readme_keeps_the_two_commands_of_a_newcomer():
    text = (ROOT / "README.md").read_text()
    assert "\npython3 -m pip install -e . && python3 -m vreid_jax.main --config=configs/m3d.py\n" in text
    assert "\npython3 -m pip install -e '.[test]' && python3 -m pytest\n" in text


# From here on: pages worked through.

WALKED = ("README.md", "docs/index.md", "docs/data.md", "docs/protocols.md", "docs/recipes.md", "docs/new_system.md")
WALKED += ("docs/model_files.md", "docs/nonlocal3d.md", "docs/person_vlad.md", "docs/clip_similarity.md")
WALKED += ("docs/two_stream.md", "docs/m3d.md")
BEFORE = {
    "docs/recipes.md": "python data_prep/prepare.py mars --manual_dir=FOLDER"
}  # what it sends its reader to first
NOT_RUN = {  # what is parsed only, and why
    r"-m pip install|-m pytest|sphinx-build": "other steps of .ci do it",
    r"init_from=(resnet|c3d|i3d|vgg16)|resnet50.pth": "weights of others; tests/pretrained makes and reads such files",
    r"init_from=runs/(nonlocal3d-mars|vlad-mars|m3d-mars)": "starts from such a run",
    r"split=all": "ten runs; tests/experiment/splits_test.py",
    r"VREID_": "waits for other hosts; tests/experiment/devices_test.py starts two processes",
    r"benchmarks/": "measures, for hours",
    r"position=4,60,30": "of a run that the page does not make",
    r"walkers/(gaits|jitter)": "takes long to draw",
    r"(north|south)\.": "a reader's own videos; tests/tracking, tests/linking and tests/serving run these commands",
}
SMALL = "data.height=64,data.width=32,data.num_threads=2,logging.progress=False,logging.tensorboard=False"
TINY = {  # system -> fields that make its runs small
    "m3d": "model.width=4,model.stage_sizes=(1,1,1,1)",
    "nonlocal3d": "model.width=4,model.stage_sizes=(1,1,1,1)",
    "person_vlad": "model.width=4",
    "clip_similarity": "model.width=4,phases.similarity.clip.num_clips=2,evaluation.streams.clips.clip.num_clips=2",
    "two_stream_vgg": "model.width=2,model.hidden_size=8",
    "strong_baseline": "model.backbone=resnet50",
    "statistics_pooling": "",
}


def reduced(command):
    """The command with a small network, few steps and the smallest walkers."""
    found = re.search(r"--config=(?:configs|docs)/(\w+)\.py(?::(\w+))?", command)
    if not found:
        return command.replace("walkers/small", "walkers/tiny")
    system, dataset = found[1], found[2] or "walkers"
    config = from_file(f"{ROOT}/{found[0].removeprefix('--config=')}")
    settings = [part for part in re.split(r",(?=\w+\.)", f"{SMALL},{TINY[system]}".rstrip(",")) if part]
    if system in ("m3d", "nonlocal3d") and dataset == "mars":
        settings.append("model.remat=False" if system == "nonlocal3d" else "dtype=float32")
    if system == "nonlocal3d":
        settings += ["model.non_local_after.res3=(0,)", "model.non_local_after.res4=(0,)"]
    if dataset == "walkers":
        settings.append("data.name=walkers/tiny")
    parts = "accumulation_steps=" in command
    command = re.sub(r"accumulation_steps=\d+", "accumulation_steps=2", command)
    for name in config.phases:
        settings += [f"phases.{name}.{key}" for key in ("total_steps=2", "total_epochs=0", "batch_size=8")]
        if config.phases[name].sampler == "identity":
            settings.append(f"phases.{name}.identities_per_batch={4 if parts else 2}")
    return f"{command} " + " ".join(f"'--config.{setting}'" for setting in settings)


PREAMBLE = """set -e
python() { "$VREID_PYTHON" "$@"; }
python3() { "$VREID_PYTHON" "$@"; }
vreid() { "$VREID_PYTHON" -m vreid_jax.cli.command "$@"; }
"""


def work_through(text, language, folder, environment):
    if language == "sh":
        kept = [command for command in commands(text) if not any(re.search(why, command) for why in NOT_RUN)]
        text = PREAMBLE + "\n".join(reduced(command) for command in kept)
        start = ["bash", "-c", text]
    else:
        start = [sys.executable, "-c", text]
    done = subprocess.run(start, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def environment(data_dir, tmp_path_factory):
    shared = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir), "XLA_FLAGS": ""}
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    return {**os.environ, **shared, **cache, "VREID_PYTHON": sys.executable}


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    """A folder with the run that every page speaks of."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "configs").symlink_to(ROOT / "configs")
    work_through("python3 -m vreid_jax.main --config=configs/m3d.py", "sh", folder, environment)
    return folder / "runs"


@pytest.fixture
def desk(trained, walkers_video, small_mars, tmp_path):
    """What a reader has before a page begins: the repository, a trained model, a video, pictures, the files of MARS."""
    for name in ("configs", "data_prep", "docs", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(trained, tmp_path / "runs")
    walkers_video(tmp_path / "VIDEO", tmp_path / "TRACKS.txt")
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), rng.integers(0, 255, (64, 32, 3), np.uint8))
    for split, pids in (("train", range(1, 9)), ("query", range(11, 14)), ("gallery", range(11, 14))):
        for pid in pids:
            for camid in (1, 2):
                walk = tmp_path / "PICTURES" / split / str(pid) / f"c{camid}_{split}"
                walk.mkdir(parents=True)
                for frame in range(10):
                    cv2.imwrite(str(walk / f"{frame}.jpg"), rng.integers(0, 255, (32, 16, 3), np.uint8))
    small_mars(tmp_path / "FOLDER")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", WALKED)
def test_a_page_can_be_worked_through(page, desk, environment):
    work_through(BEFORE.get(page, "true"), "sh", desk, environment)
    for language, text in blocks(page):
        if language in ("sh", "python"):
            work_through(text, language, desk, environment)
