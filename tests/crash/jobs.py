"""The jobs that are killed: what each runs, what it leaves, and whether that equals what the uninterrupted job left."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from vreid_jax.search.gallery import open_gallery
from vreid_jax.training.checkpoints import load_state

CONFIG = Path(__file__).parents[1] / "toy_config.py"
DURATIONS = ("train_seconds", "evaluation_seconds", "clips_per_second")  # what may differ between two runs


@dataclasses.dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
      arguments: those behind `vreid`, of the folder that the job writes to, a finished run, and the datasets' folder.
      outcome: what a finished job has left in its folder, by name.
      done: what the command answers with exit code 2 when its output is there already; empty if it can be repeated.
      appearances: glob patterns of what appears on the way and is gone at the end.
      stages: as `killing.stage` takes them.
    """

    arguments: Callable[[Path, Path, Path], list[str]]
    outcome: Callable[[Path], dict[str, Any]]
    done: str
    appearances: Sequence[str]
    stages: Sequence[tuple[str, str]]


def _train_outcome(folder: Path) -> dict[str, Any]:
    workdir = folder / "run"
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    found = {
        "metrics.jsonl": [_without_durations(line) for line in lines],
        "results.json": _without_durations(json.loads((workdir / "results.json").read_text())),
        "config.json": (workdir / "config.json").read_bytes(),
        "checkpoints": sorted(path.name for path in (workdir / "checkpoints").iterdir()),
    }
    for file in sorted((workdir / "features").glob("*.npz")):
        with np.load(file) as table:
            found |= {f"{file.name} {name}": table[name] for name in table.files}
    leaves = jax.tree_util.tree_leaves_with_path(load_state(workdir))
    return found | {f"state{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def _without_durations(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in DURATIONS}


def _embed_outcome(folder: Path) -> dict[str, Any]:
    gallery = open_gallery(folder / "gallery.parquet")
    return {"vectors": gallery.vectors, "about": gallery.about, **gallery.columns}


def _convert_outcome(folder: Path) -> dict[str, Any]:
    file = folder / "model.safetensors"
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()  # safetensors writes it in any order, so that the bytes of two files differ
    return {"metadata": metadata, "card": (folder / "model.md").read_bytes(), **load_file(file)}


def _report_outcome(folder: Path) -> dict[str, Any]:
    page = (folder / "report.html").read_bytes()
    return {"page": re.sub(rb'<meta name="vreid-source"[^>]*>', b"", page)}  # from the page to the run, as a path


JOBS = {
    "train": Job(
        lambda folder, run, data: [
            "train",
            f"--config={CONFIG}",
            f"--config.data.data_dir={data}",
            f"--workdir={folder / 'run'}",
        ],
        _train_outcome,
        done="",
        appearances=("run/checkpoints/*tmp*", "run/checkpoints/*", "run/.*.partial", "run/features/.*.partial"),
        stages=(
            ("after the scores", "run/results.json"),
            ("evaluation", "run/features*"),
            ("writing a checkpoint", "*checkpoint-tmp*"),
            ("steps", "run/checkpoints/*"),
            ("compilation and first steps", "run/config.json"),
        ),
    ),
    "report": Job(
        lambda folder, run, data: ["report", str(run), f"--out={folder / 'report.html'}", "--queries=4"],
        _report_outcome,
        done="",
        appearances=(".*.partial", "report.html"),
        stages=(("after the page", "report.html"), ("writing the page", ".*")),
    ),
    "embed": Job(
        lambda folder, run, data: [
            "embed",
            "walkers/tiny",
            f"--data-dir={data}",
            f"--model={run}",
            f"--out={folder / 'gallery.parquet'}",
            "--quiet",
        ],
        _embed_outcome,
        done="gallery.parquet exists already",
        appearances=("*.parts/.*.partial", "*.parts/*[3-6].parquet", ".*.partial", "*.parts", "gallery.parquet"),
        stages=(
            ("removing the parts", "gallery.parquet"),
            ("writing the gallery", ".gallery.parquet.*"),
            ("writing a part", "*.parts/.*"),
            ("between parts", "*.parts/*.parquet"),
            ("compilation and the first part", "*.parts*"),
        ),
    ),
    "convert": Job(
        lambda folder, run, data: [
            "convert",
            str(run),
            f"--out={folder / 'model.safetensors'}",
            "--licence=Apache-2.0",
        ],
        _convert_outcome,
        done="is there already",
        appearances=(".*.partial", "model.safetensors", "model.md"),
        stages=(
            ("after the card", "model.md"),
            ("between model and card", "model.safetensors"),
            ("writing the model", ".*"),
        ),
    ),
}


def names(folder: Path) -> list[str]:
    """Return the paths of all that a job left, but for the inside of checkpoints, which Orbax names by chance."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(path.as_posix() for path in paths if path.parts[:2] != ("run", "checkpoints") or len(path.parts) < 4)


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the names of what is not the same in two outcomes, bit for bit."""
    return [
        name
        for name in sorted({*expected, *found})
        if name not in expected or name not in found or not _same(expected[name], found[name])
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return one == other
