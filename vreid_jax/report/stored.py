"""What a finished run left in its workdir, read back for a page."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vreid_jax import evaluation, inference, models
from vreid_jax.errors import InputError
from vreid_jax.evaluation import features as extraction
from vreid_jax.evaluation.metric import LEARNED
from vreid_jax.evaluation.pair_distances import pair_distances
from vreid_jax.runtime.mesh import make_mesh


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A workdir: `results.json`, the lines of `metrics.jsonl`, and the configuration."""

    workdir: Path
    config: ConfigDict
    results: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """How a page calls it."""
        return self.workdir.resolve().name

    @property
    def protocol(self) -> str:
        """The main protocol."""
        return next(iter(self.results["protocols"]))


def read_run(workdir: str | Path) -> StoredRun:
    """Read an evaluated run.

    Raises:
      InputError: when the folder holds no run, or one that was not evaluated.
    """
    workdir = Path(workdir).expanduser()
    if not (workdir / "config.json").is_file():
        raise InputError(f"{workdir} is no workdir of a run: it has no config.json")
    if not (workdir / "results.json").is_file():
        raise InputError(
            f"{workdir} was not evaluated yet: it has no results.json, `vreid evaluate {workdir}` makes one"
        )
    try:
        config = ConfigDict(json.loads((workdir / "config.json").read_text()))
        results = json.loads((workdir / "results.json").read_text())
        if not results["protocols"]:
            raise KeyError("protocols")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{workdir} holds no readable results: {error}") from error
    return StoredRun(workdir, config, results, _read_metrics(workdir / "metrics.jsonl"))


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # the half line of a killed run
    return lines


def stored_distances(run: StoredRun, test: evaluation.TestSet):
    """`distances(query_rows, gallery_rows)` of the run's system, from its stored features and metric.

    Raises:
      InputError: when features are missing or of other tracklets than the dataset's.
    """
    streams = {}
    for name in run.config.evaluation.streams:
        file = run.workdir / "features" / f"{name}.npz"
        if not file.is_file():
            raise InputError(f"{file} is missing: `vreid evaluate {run.workdir}` writes it")
        try:
            with np.load(file) as table:
                ids, streams[name] = table["tracklet_ids"].tolist(), table["features"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file} cannot be read ({error}): `vreid evaluate {run.workdir}` writes it") from error
        if ids != test.tracklets.tracklet_ids.tolist():
            raise InputError(f"{file} is of other tracklets than the dataset has now: evaluate the run again")
    features = extraction.fuse(streams)
    if features.ndim == 3:
        model = inference.load(run.workdir)
        method = models.entry(model.name).similarity
        return pair_distances(model.module, model.variables, features, run.config, make_mesh(), method, "similarity")
    metric = run.results.get("metric", run.config.evaluation.metric)
    if metric in LEARNED:
        metric = LEARNED[metric].load(run.workdir / "metrics" / f"{metric}-system.npz")
    return evaluation.feature_distances(features, metric)
