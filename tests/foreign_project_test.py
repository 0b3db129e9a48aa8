"""What another project does with the datasets: `import vreid_jax.datasets`, then TFDS's own functions."""

import os
import shutil
import subprocess
import textwrap
import venv
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

ROOT = Path(__file__).parents[1]
READING = ("tensorflow-datasets", "array-record", "filelock", "importlib-resources", "opencv-contrib-python-headless")
# The command `tfds` imports the last two; `tfds.load` needs neither.
TENSORFLOW = ("tensorflow-cpu", "apache-beam", "mlcroissant")


def _environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """Return the `bin` of a fresh environment with this package and `requirements`, without this package's own."""
    venv.create(folder / "venv", with_pip=True)
    bin = folder / "venv" / "bin"
    copy = folder / "vreid_jax"  # setuptools writes beside what it packs
    for name in ("vreid_jax", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for arguments in (("--no-deps", str(copy)), requirements):
        subprocess.run(
            [bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments], check=True
        )
    return bin


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """An environment with TFDS, without TensorFlow and JAX."""
    return _environment(tmp_path_factory.mktemp("plain"), READING)


@pytest.fixture(scope="module")
def with_tensorflow(tmp_path_factory) -> Path:
    """An environment with TFDS, TensorFlow and what the command `tfds` needs, without JAX."""
    return _environment(tmp_path_factory.mktemp("with_tensorflow"), (*READING, *TENSORFLOW))


def _run(command: list, folder: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_with_pips_network_another_project_reads_datasets_without_jax(plain, data_dir, tmp_path):
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
    assert _run([plain / "python", "-c", code], tmp_path) == "read\n"


@pytest.mark.slow
def test_with_pips_network_data_source_builds_without_tensorflow(plain, data_dir, tmp_path):
    code = textwrap.dedent("""
        import vreid_jax.datasets
        import tensorflow_datasets as tfds

        source = tfds.data_source("walkers/tiny", split="gallery")
        print("built", len(source), source[0]["frames"][0].shape)
        again = vreid_jax.datasets.load_builder("walkers/tiny")
        assert len(again.as_data_source("gallery")) == len(source)
    """)
    assert "built 23 (64, 32, 3)\n" in _run([plain / "python", "-c", code], tmp_path, TFDS_DATA_DIR=str(tmp_path))
    _assert_same_build(tmp_path, data_dir)


@pytest.mark.slow
def test_with_pips_network_load_builds_and_reads_with_tensorflow(with_tensorflow, data_dir, tmp_path):
    code = textwrap.dedent("""
        import cv2
        import numpy as np
        import tensorflow as tf
        import tensorflow_datasets as tfds

        import vreid_jax.datasets

        loaded = tfds.load("walkers/tiny", split="gallery")
        source = tfds.data_source("walkers/tiny", split="gallery")
        assert len(loaded) == len(source) == 23
        for first, second in zip(loaded.as_numpy_iterator(), source, strict=True):
            for name in ("tracklet_id", "pid", "camid"):
                assert first[name] == second[name]
            frames = np.stack(list(second["frames"]))
            assert first["frames"].dtype == np.uint8 and first["frames"].shape == frames.shape
            assert np.abs(first["frames"].astype(int) - frames).mean() < 3  # TensorFlow decodes JPEG fast, not exactly
        assert {name: len(split) for name, split in tfds.load("walkers/tiny").items()} == {
            "train": 35, "query": 18, "gallery": 23,
        }
        assert len(tfds.load("walkers/tiny", split="train[10:20]")) == 10
        ids = [source[i]["tracklet_id"] for i in range(23)]
        config = tfds.ReadConfig(shuffle_seed=1)
        shuffled = tfds.load("walkers/tiny", split="gallery", shuffle_files=True, read_config=config)
        shuffled = [each["tracklet_id"] for each in shuffled.as_numpy_iterator()]
        assert shuffled != ids and sorted(shuffled) == sorted(ids)
        workers = [
            tfds.load("walkers/tiny", split="gallery", read_config=tfds.ReadConfig(input_context=context))
            for context in (tf.distribute.InputContext(2, worker) for worker in range(2))
        ]
        assert [[each["tracklet_id"] for each in part.as_numpy_iterator()] for part in workers] == [ids[::2], ids[1::2]]
        undecoded = tfds.load("walkers/tiny", split="gallery", decoders={"frames": tfds.decode.SkipDecoding()})
        for first, second in zip(undecoded.as_numpy_iterator(), source, strict=True):
            decoded = [cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR_RGB) for frame in first["frames"]]
            np.testing.assert_array_equal(np.stack(decoded), np.stack(list(second["frames"])))
        partial = tfds.load("walkers/tiny", split="query", decoders=tfds.decode.PartialDecoding({"pid": True}))
        assert set(partial.element_spec) == {"pid"}
        print("loaded")
    """)
    assert _run([with_tensorflow / "python", "-c", code], tmp_path, TFDS_DATA_DIR=str(tmp_path)).endswith("loaded\n")
    _assert_same_build(tmp_path, data_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["walkers/tiny", "--imports=vreid_jax.datasets"],
        [ROOT / "vreid_jax" / "datasets" / "walkers", "--config=tiny"],
    ],
    ids=["imports", "checkout"],
)
def test_with_pips_network_tfds_build(with_tensorflow, data_dir, tmp_path, arguments):
    _run([with_tensorflow / "tfds", "build", *arguments], tmp_path, TFDS_DATA_DIR=str(tmp_path / "built"))
    _assert_same_build(tmp_path / "built", data_dir)


def _assert_same_build(folder: Path, data_dir: Path) -> None:
    """Compare with the build of this environment, whose OpenCV, and so a pixel here and there, may be another one."""
    built, expected = (tfds.builder_from_directory(root / "walkers" / "tiny" / "1.0.0") for root in (folder, data_dir))
    assert {name: split.num_examples for name, split in built.info.splits.items()} == {
        name: split.num_examples for name, split in expected.info.splits.items()
    }
    for split in expected.info.splits:
        for first, second in zip(built.as_data_source(split), expected.as_data_source(split), strict=True):
            assert [first[name] for name in ("tracklet_id", "pid", "camid")] == [
                second[name] for name in ("tracklet_id", "pid", "camid")
            ]
            frames, others = (np.stack(list(each["frames"])).astype(int) for each in (first, second))
            assert np.abs(frames - others).mean() < 2
