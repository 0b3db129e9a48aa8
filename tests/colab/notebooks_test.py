"""The notebooks: clean files that only use the library, and that run from top to bottom in a kernel of their own."""

import ast
import base64
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import types
import venv
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.visualize.contact_sheet import as_png

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ("train_walkers", "prepare_and_train_mars", "search_your_video")


def read(name):
    return json.loads((ROOT / "colab" / f"{name}.ipynb").read_text())


def sources(book, kind="code"):
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_text_and_no_outputs(name):
    book = read(name)
    for cell in book["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert book["cells"][0]["cell_type"] == "markdown"
    assert len(sources(book, "markdown")) >= 6
    assert [cell["metadata"].get("tags") for cell in book["cells"]].count(["parameters"]) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_installs_on_colab_and_does_nothing_elsewhere(name):
    first, *others = sources(read(name))
    assert first == sources(read(NOTEBOOKS[0]))[0]
    statements = ast.parse(first).body
    assert [type(statement) for statement in statements] == [ast.Import, ast.Assign, ast.If]
    assert ast.unparse(statements[2].test) == "'google.colab' in sys.modules"
    assert not any(re.search(r"^\s*[!%]", source, re.MULTILINE) for source in (first, *others))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_asks_colab_for_a_gpu(name):
    metadata = read(name)["metadata"]
    assert (metadata["accelerator"], metadata["colab"]["gpuType"]) == ("GPU", "T4")


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    """Runs the first cell as on Colab, but for the processes that it starts; returns what they are given."""
    started = []

    def run(command, **_):
        started.append(command)
        device = "" if "pip" in command else "cpu\n"
        return subprocess.CompletedProcess(
            command, 1 if command[-1] == "broken[search]" else 0, device, "what pip says"
        )

    def execute(source=""):
        cell = sources(read(NOTEBOOKS[0]))[0]
        assert 'SOURCE = ""' in cell
        exec(cell.replace('SOURCE = ""', f"SOURCE = {source!r}"), {})
        return started[0]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return execute


def test_without_a_source_the_first_cell_says_what_to_do(first_cell):
    with pytest.raises(FileNotFoundError, match="Put a wheel of vreid_jax or a copy of its repository beside"):
        first_cell()


@pytest.fixture
def repository(tmp_path):
    for folder in ("vreid_jax-main/vreid_jax", "vreid_jax-main/colab", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "vreid_jax-main" / "pyproject.toml").touch()
    return tmp_path / "vreid_jax-main"


@pytest.mark.parametrize("place", [".", "vreid_jax-main", "vreid_jax-main/colab"])
def test_a_copy_of_the_repository_beside_or_around_the_notebook_is_installed(
    first_cell, repository, monkeypatch, place
):
    monkeypatch.chdir(place)
    assert first_cell()[-1] == f"{repository}[search]"


def test_the_wheel_that_was_uploaded_last_goes_before_others_and_a_copy(first_cell, repository, tmp_path):
    for version, seconds in (("0.10.0", 2000), ("0.9.0", 1000)):
        wheel = tmp_path / f"vreid_jax-{version}-py3-none-any.whl"
        wheel.touch()
        os.utime(wheel, (seconds, seconds))
    assert first_cell()[-1] == f"{tmp_path}/vreid_jax-0.10.0-py3-none-any.whl[search]"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("https://example.org/me/vreid_jax", "vreid_jax[search] @ git+https://example.org/me/vreid_jax"),
        ("git+https://example.org/x@main", "vreid_jax[search] @ git+https://example.org/x@main"),
        ("https://example.org/main.zip", "vreid_jax[search] @ https://example.org/main.zip"),
        ("vreid_jax", "vreid_jax[search]"),
        ("vreid_jax==1.2", "vreid_jax[search]==1.2"),
    ],
)
def test_an_address_or_a_name_is_handed_to_pip(first_cell, source, wanted):
    assert first_cell(source)[-1] == wanted


def test_pip_may_not_replace_the_jax_that_runs(first_cell, tmp_path):
    command = first_cell("vreid_jax")
    kept = (tmp_path / command[command.index("--constraint") + 1]).read_text().splitlines()
    assert {f"{name}=={metadata.version(name)}" for name in ("jax", "jaxlib")} <= set(kept)
    assert not any(line.startswith(("jaxtyping", "numpy")) for line in kept)


def test_the_first_cell_says_when_jax_does_not_use_the_gpu(first_cell, monkeypatch, capsys):
    first_cell("vreid_jax")
    assert "This runtime has neither GPU nor TPU" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    first_cell("vreid_jax")
    assert "This runtime has a GPU, but JAX runs on its CPU" in capsys.readouterr().out


def test_the_first_cell_stops_with_what_pip_says(first_cell):
    with pytest.raises(RuntimeError, match="pip could not install broken:\nwhat pip says"):
        first_cell("broken")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_imports_what_exists_and_defines_next_to_nothing(name):
    for source in sources(read(name)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vreid_jax"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert len(ast.unparse(node).splitlines()) <= 4, "what is longer belongs into the library"


def test_a_gallery_lies_in_the_folder_of_its_people(tmp_path, monkeypatch):
    """That folder belongs to one video and its tracks, which `open_source` checks."""
    monkeypatch.chdir(tmp_path)
    cell = next(source for source in sources(read("search_your_video")) if "embed_gallery" in source)
    search = types.SimpleNamespace(
        embed_gallery=lambda model, source, path, progress: path.write_text(source),
        open_gallery=lambda path: types.SimpleNamespace(vectors=np.zeros((1, 2))),
    )
    model = types.SimpleNamespace(fingerprint="0123")
    for video in ("a", "b"):
        (tmp_path / video).mkdir()
        exec(cell, {"Path": Path, "search": search, "model": model, "source": video, "NAME": video})
    assert {path.parent.name: path.read_text() for path in tmp_path.rglob("*.parquet")} == {"a": "a", "b": "b"}


def test_a_picture_of_a_notebook_is_the_array():
    sheet = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    found = cv2.imdecode(np.frombuffer(as_png(sheet), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(found, sheet)


SMALL = {
    "data.name": "walkers/tiny",
    "data.num_threads": 2,
    "model.width": 4,
    "phases.spatial.batch_size": 16,
    "phases.spatial.total_steps": 4,
    "phases.temporal.batch_size": 8,
    "phases.temporal.total_steps": 4,
}


STAND_IN = '''
"""The module that is there on Colab only, as far as the notebooks and JAX use it."""
import types

output = None
drive = types.SimpleNamespace(mount=lambda folder: print("mounted", folder))
uploads = iter(("crossing.avi", "tracks.txt"))
files = types.SimpleNamespace(upload=lambda: {next(uploads): b""})
'''


def execute(name, settings, folder, data_dir, kernel="python3", path=str(ROOT)):
    """Run a notebook with `settings` after its parameters; returns its printed text and its pictures."""
    import nbclient
    import nbformat

    book = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
    at = next(n for n, cell in enumerate(book.cells) if cell.metadata.get("tags") == ["parameters"])
    lines = "\n".join(f"{key} = {value!r}" for key, value in settings.items())
    book.cells.insert(at + 1, nbformat.v4.new_code_cell(lines))
    kept = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)}
    client = nbclient.NotebookClient(book, timeout=900, kernel_name=kernel, resources={"metadata": {"path": folder}})
    client.execute(env={**kept, "XLA_FLAGS": "", "PIP_NO_INDEX": "1"})
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    found = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR) for png in found]
    if keep := os.environ.get("VREID_KEEP_NOTEBOOKS"):  # a folder, to look at them
        nbformat.write(book, Path(keep) / f"{name}.ipynb")
    return text, pictures


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the library, made from a copy: building writes beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    kept = shutil.ignore_patterns("__pycache__")
    for name in ("vreid_jax", "configs"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=kept)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources")
    flags = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *flags, str(folder / "sources")], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def colab(wheel, tmp_path, tmp_path_factory, monkeypatch):
    """Runs a notebook as Colab does: in a folder with the wheel, in an environment of its own that lacks the library."""
    environment = tmp_path_factory.mktemp("colab")
    venv.create(environment / "env", with_pip=True)
    python = environment / "env" / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    # Everything else comes from where the tests run; its .pth files, an editable library among them, do not count.
    (Path(own.stdout.strip()) / "tests.pth").write_text(sysconfig.get_path("purelib"))
    (environment / "start" / "google" / "colab").mkdir(parents=True)
    (environment / "start" / "google" / "colab" / "__init__.py").write_text(STAND_IN)
    (environment / "start" / "sitecustomize.py").write_text("import google.colab")
    spec = environment / "kernels" / "colab" / "kernel.json"
    spec.parent.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": start, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(environment))
    shutil.copy(wheel, tmp_path)

    def run(name, settings, data_dir):
        text, pictures = execute(name, settings, tmp_path, data_dir, "colab", str(environment / "start"))
        assert f"installed {tmp_path / wheel.name}; JAX runs on: cpu" in text
        assert "neither GPU nor TPU" in text
        assert (Path(own.stdout.strip()) / "vreid_jax" / "__init__.py").is_file()
        return text, pictures

    return run


@pytest.mark.slow
def test_train_walkers_runs_from_top_to_bottom(colab, data_dir, tmp_path):
    settings = {"DATASET": "walkers/tiny", "SPATIAL_STEPS": 4, "TEMPORAL_STEPS": 4, "WORKDIR": "run"}
    text, pictures = colab("train_walkers", {**settings, "CHANGES": SMALL}, data_dir)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["step"] == 8
    assert f"{100 * results['protocols']['walkers']['rank1']:8.1f}" in text
    assert len(pictures) == 2
    assert all(sheet.std() > 20 for sheet in pictures)
    assert (tmp_path / "run" / "results-shuffled.json").is_file()
    assert (tmp_path / "walkers.gif").stat().st_size > 10_000
    assert (tmp_path / "m3d-walkers.safetensors").is_file()


@pytest.mark.slow
def test_search_your_video_runs_from_top_to_bottom(colab, data_dir, walkers_video, tmp_path):
    walkers_video(tmp_path / "crossing.avi", tmp_path / "tracks.txt")  # what the stand-in says was uploaded
    text, pictures = colab("search_your_video", {"QUERY": "track0012"}, data_dir)
    assert "8 tracks, 192 boxes, 10 frames a second" in text
    # Twelve tracks are shown at most, and of the query those four that are not there at the same time.
    assert [sheet.shape[0] for sheet in pictures] == [8 * (96 + 18), 5 * (96 + 18)]
    assert all(sheet.std() > 20 for sheet in pictures)
    assert len(list((tmp_path / "people").glob("gallery-*.parquet"))) == 1


@pytest.mark.slow
def test_prepare_and_train_mars_runs_from_top_to_bottom(colab, small_mars, tmp_path):
    small_mars(tmp_path / "MARS")
    changes = {name: value for name, value in SMALL.items() if name != "data.name"}
    changes |= {
        "data.height": 32,
        "data.width": 16,
        "phases.spatial.total_epochs": 0,
        "phases.temporal.total_epochs": 0,
    }
    settings = {"FOLDER": str(tmp_path / "MARS"), "DATA_DIR": str(tmp_path / "datasets"), "WORKDIR": "run"}
    text, pictures = colab("prepare_and_train_mars", {**settings, "CHANGES": changes}, tmp_path / "unused")
    assert "mounted /content/drive" in text
    assert "published numbers differ" in text
    assert len(pictures) == 1
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert next(iter(results["protocols"])) == "mars"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    # The folder of the run lies on Google Drive.
    assert config["checkpoint"]["every_minutes"] >= 15
    assert config["checkpoint"]["every_steps"] == 0
