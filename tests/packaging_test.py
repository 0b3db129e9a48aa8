"""What a wheel carries, and that it works where there is no repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vreid_jax.config.files import shipped_configs

ROOT = Path(__file__).parents[1]
SOURCES = ("vreid_jax", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
LISTING = """
import json
import setuptools  # before distutils, which it provides
from distutils.core import run_setup

build = run_setup("setup.py", stop_after="init")
build.parse_config_files()
command = build.get_command_obj("build_py")
command.ensure_finalized()
command.editable_mode = False
print(json.dumps(command.get_outputs(include_bytecode=False)))
"""
EMBED = "import numpy, vreid_jax; print(vreid_jax.load().embed(numpy.zeros((2, 40, 20, 3), numpy.uint8)).shape)"


@pytest.fixture
def sources(tmp_path):
    """A copy of what a wheel is made from: building writes beside it."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def test_a_wheel_carries_the_configurations_and_every_file_of_the_package(sources):
    listing = [sys.executable, "-c", LISTING]
    done = subprocess.run(listing, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = {Path(name).relative_to("build/lib").as_posix() for name in json.loads(done.stdout.splitlines()[-1])}
    configs = {f"vreid_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert {Path(name).stem for name in configs} == {
        "clip_similarity",
        "m3d",
        "nonlocal3d",
        "person_vlad",
        "strong_baseline",
        "two_stream_vgg",
    }
    package = {path.relative_to(sources).as_posix() for path in (sources / "vreid_jax").rglob("*") if path.is_file()}
    assert outputs == package | configs
    shipped = "vreid_jax/inference/shipped/people"
    assert {f"{shipped}.safetensors", f"{shipped}.md"} <= outputs
    assert sum((sources / name).stat().st_size for name in package) < 5e6  # the package stays small


def test_the_configurations_that_come_with_the_library_are_those_of_the_repository():
    assert {name: path.resolve() for name, path in shipped_configs().items()} == {
        path.stem: path.resolve() for path in (ROOT / "configs").glob("*.py")
    }


@pytest.fixture
def installed(sources, tmp_path):
    """Run a command of a fresh environment that has the wheel, and of this one its dependencies only."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}", str(sources)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True)
    bin_folder = fresh / "bin"
    install = [*pip, f"--python={bin_folder / 'python'}", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = fresh.glob("lib/python*/site-packages")
    # A folder that a .pth file names is searched, but its own .pth files, an editable install's, are not followed.
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(paths))
    shutil.rmtree(sources)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"TFDS_DATA_DIR": str(tmp_path / "datasets"), "XLA_FLAGS": ""}

    def run(*command):
        start = [bin_folder / command[0], *command[1:]]
        done = subprocess.run(start, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_a_wheel_works_without_the_repository(installed, tmp_path):
    where = installed("python", "-c", "import vreid_jax; print(vreid_jax.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path / "fresh")
    assert "\n  clip-pairs " in installed("vreid", "--help")
    assert "clip_similarity, m3d, nonlocal3d, person_vlad, strong_baseline" in installed("vreid", "train", "--help")
    assert "# The model in the box" in installed("vreid", "convert", "--card")
    assert "(768,)" in installed("python", "-c", EMBED)
    assert "tracklets train 35, query 18" in installed("vreid", "data", "build", "walkers/tiny")
    flags = [f"--config.{name}" for name in ("data.name=walkers/tiny", "model.width=4", "model.stage_sizes=(1,1,1,1)")]
    for phase in ("spatial", "temporal"):
        flags += [f"--config.phases.{phase}.{name}" for name in ("total_steps=3", "batch_size=8")]
    flags.append("--config.phases.temporal.identities_per_batch=2")
    flags += ["--config.logging.progress=False", "--config.logging.tensorboard=False"]
    installed("vreid", "train", "m3d", "--workdir=run", *flags)
    assert json.loads((tmp_path / "elsewhere/run/results.json").read_text())["step"] == 6
    again = installed("python", "-m", "vreid_jax.main", "--config=m3d:walkers", "--workdir=run", *flags)
    assert "rank-1" in again
