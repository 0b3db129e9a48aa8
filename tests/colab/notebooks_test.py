"""The notebooks: clean files that only use the library, and that run from top to bottom in a kernel of their own."""

import ast
import base64
import importlib
import json
import os
import re
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


def without_magics(source):
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", source, flags=re.MULTILINE)


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
    statements = ast.parse(without_magics(first)).body
    assert [type(statement) for statement in statements] == [ast.Import, ast.If]
    assert ast.unparse(statements[1].test) == "'google.colab' in sys.modules"
    assert "%pip install" in first
    assert not any(re.search(r"^\s*[!%]", source, re.MULTILINE) for source in others)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_imports_what_exists_and_defines_next_to_nothing(name):
    for source in sources(read(name)):
        for node in ast.walk(ast.parse(without_magics(source))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vreid_jax"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert len(ast.unparse(node).splitlines()) <= 4, "what is longer belongs into the library"


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


def execute(name, settings, folder, data_dir):
    """Run a notebook with `settings` after its parameters; returns its printed text and its pictures."""
    import nbclient
    import nbformat

    book = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
    at = next(n for n, cell in enumerate(book.cells) if cell.metadata.get("tags") == ["parameters"])
    lines = "\n".join(f"{key} = {value!r}" for key, value in settings.items())
    book.cells.insert(at + 1, nbformat.v4.new_code_cell(lines))
    kept = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)}
    client = nbclient.NotebookClient(book, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env={**kept, "XLA_FLAGS": ""})
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    found = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR) for png in found]
    if keep := os.environ.get("VREID_KEEP_NOTEBOOKS"):  # a folder, to look at them
        nbformat.write(book, Path(keep) / f"{name}.ipynb")
    return text, pictures


@pytest.mark.slow
def test_train_walkers_runs_from_top_to_bottom(data_dir, tmp_path):
    settings = {"DATASET": "walkers/tiny", "SPATIAL_STEPS": 4, "TEMPORAL_STEPS": 4, "WORKDIR": "run"}
    text, pictures = execute("train_walkers", {**settings, "CHANGES": SMALL}, tmp_path, data_dir)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["step"] == 8
    assert f"{100 * results['protocols']['walkers']['rank1']:8.1f}" in text
    assert len(pictures) == 2
    assert all(sheet.std() > 20 for sheet in pictures)
    assert (tmp_path / "run" / "results-shuffled.json").is_file()
    assert (tmp_path / "walkers.gif").stat().st_size > 10_000
    assert (tmp_path / "m3d-walkers.safetensors").is_file()


@pytest.mark.slow
def test_search_your_video_runs_from_top_to_bottom(data_dir, walkers_video, tmp_path):
    walkers_video(tmp_path / "crossing.avi", tmp_path / "tracks.txt")
    settings = {"VIDEO": "crossing.avi", "TRACKS": "tracks.txt", "QUERY": "track0012"}
    text, pictures = execute("search_your_video", settings, tmp_path, data_dir)
    assert "8 tracks, 192 boxes, 10 frames a second" in text
    # Twelve tracks are shown at most, and of the query those four that are not there at the same time.
    assert [sheet.shape[0] for sheet in pictures] == [8 * (96 + 18), 5 * (96 + 18)]
    assert all(sheet.std() > 20 for sheet in pictures)
    assert len(list(tmp_path.glob("gallery-*.parquet"))) == 1
