import os
import shutil
import subprocess
import textwrap
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("tensorflow-datasets", "array-record", "importlib-resources", "opencv-contrib-python-headless")


@pytest.fixture(scope="module")
def foreign_python(tmp_path_factory) -> Path:
    """The Python of a fresh environment with this package, without what it depends on but for reading datasets."""
    folder = tmp_path_factory.mktemp("foreign") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    copy = tmp_path_factory.mktemp("source") / "vreid_jax"  # setuptools writes beside what it packs
    shutil.copytree(ROOT / "vreid_jax", copy / "vreid_jax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for arguments in (("--no-deps", str(copy)), NEEDED):
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments], check=True)
    return python


@pytest.mark.slow
def test_with_pips_network_another_project_reads_datasets_without_jax(foreign_python, data_dir, tmp_path):
    code = textwrap.dedent(f"""
        import importlib.util
        import sys

        import tensorflow_datasets as tfds

        import vreid_jax.datasets

        assert importlib.util.find_spec("jax") is None and importlib.util.find_spec("tensorflow") is None
        named = tfds.data_source("walkers/tiny", split="gallery", data_dir={str(data_dir)!r})
        builder = tfds.builder_from_directory({str(data_dir / "walkers" / "tiny" / "1.0.0")!r})
        found = builder.as_data_source("gallery")
        assert len(named) == len(found) == 23
        for first, second in zip(named, found, strict=True):
            assert first["tracklet_id"] == second["tracklet_id"] and first["pid"] == second["pid"]
            assert (first["frames"][0] == second["frames"][0]).all() and first["frames"][0].shape == (64, 32, 3)
        for name in ("mars_video", "ilids_vid/split_3", "prid2011_video/split_0", "duke_video"):
            instructions = tfds.builder(name, data_dir={str(tmp_path)!r}).MANUAL_DOWNLOAD_INSTRUCTIONS
            assert len(instructions) > 100
        assert not {{"jax", "flax", "tensorflow"}} & set(sys.modules)
        print("read")
    """)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([foreign_python, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "read\n"
