"""Read what a finished run left in its workdir."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vreid_jax import evaluation, inference, models
from vreid_jax.config.files import read_config
from vreid_jax.config.run import Evaluation
from vreid_jax.errors import InputError
from vreid_jax.evaluation import features as extraction
from vreid_jax.evaluation.metric import LEARNED
from vreid_jax.evaluation.pair_distances import pair_distances
from vreid_jax.runtime.mesh import make_mesh


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """An evaluated run.

    Attributes:
      workdir: folder of the run.
      config: its configuration.
      results: content of `results.json`.
      metrics: lines of `metrics.jsonl`.
    """

    workdir: Path
    config: ConfigDict
    results: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The name of the run on a page: that of its folder."""
        return self.workdir.resolve().name

    @property
    def protocol(self) -> str:
        """The main protocol, which is the first."""
        return next(iter(self.results["protocols"]))


def read_run(workdir: str | Path) -> StoredRun:
    """Read an evaluated run.

    Raises:
      InputError: when the folder does not hold a run, or the run was not evaluated.
    """
    workdir = Path(workdir).expanduser()
    config = read_config(workdir)
    if not (workdir / "results.json").is_file():
        raise InputError(
            f"{workdir} was not evaluated yet: it has no results.json; `vreid evaluate {workdir}` writes it"
        )
    try:
        results = json.loads((workdir / "results.json").read_text())
        if not results["protocols"]:
            raise KeyError("protocols")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the results of {workdir} cannot be read: {error}") from error
    return StoredRun(workdir, config, results, _read_metrics(workdir / "metrics.jsonl"))


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`; none where there is no such file."""
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # a run that was killed may leave half a line
    return lines


def stored_distances(run: StoredRun, test: evaluation.TestSet):
    """Return `distances(query_rows, gallery_rows)` of the run's system, from its stored features and metric.

    Args:
      run: the run.
      test: its test set, as the dataset has it now.

    Raises:
      InputError: when features are missing, cannot be read, or belong to other tracklets than the dataset's.
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
            raise InputError(f"{file} belongs to other tracklets than the dataset has now: evaluate the run again")
    features = extraction.fuse(streams)
    if features.ndim == 3:
        model = inference.load(run.workdir)
        method = models.entry(model.name).similarity
        return pair_distances(
            model.module,
            model.variables,
            features,
            Evaluation.parse(run.config.evaluation),
            make_mesh(),
            method,
            "similarity",
            run.config.logging.progress,
        )
    metric = run.results.get("metric", run.config.evaluation.metric)
    if metric in LEARNED:
        metric = LEARNED[metric].load(run.workdir / "metrics" / f"{metric}-system.npz")
    return evaluation.FeatureDistances(features, metric)
