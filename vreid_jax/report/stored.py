"""Read what a finished run left in its workdir."""

import dataclasses
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
from vreid_jax.experiment.results import read_results
from vreid_jax.files import given_path
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.training.metrics import read_metrics


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
    workdir = given_path(workdir)
    config = read_config(workdir)
    file = workdir / "results.json"
    if not file.is_file():
        raise InputError(
            f"{workdir} was not evaluated yet: it has no results.json; `vreid evaluate {workdir}` writes it"
        )
    try:
        results = read_results(file)
    except InputError as error:
        raise InputError(f"{error}; `vreid evaluate {workdir}` writes it again") from error
    return StoredRun(workdir, config, results, read_metrics(workdir / "metrics.jsonl"))


def _read_features(file: Path) -> tuple[list[str], np.ndarray]:
    """Return the tracklets of a feature table and their features, `[N, D]` or `[N, C, D]` of C clips.

    Raises:
      InputError: when the file cannot be read or holds something else.
    """
    try:
        with file.open("rb") as opened, np.load(opened) as table:
            ids, features = table["tracklet_ids"], table["features"]
    except Exception as error:  # NumPy and zipfile raise many kinds for what is damaged
        raise InputError(f"{file} cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from error
    finite = np.issubdtype(features.dtype, np.floating) and np.isfinite(features).all()
    if not finite or features.ndim not in (2, 3) or ids.shape != features.shape[:1]:
        raise InputError(f"{file} cannot be read (it is not a table of finite features, one row for each tracklet)")
    return ids.tolist(), features


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
            ids, streams[name] = _read_features(file)
        except InputError as error:
            raise InputError(f"{error}: `vreid evaluate {run.workdir}` writes it") from error
        if ids != test.tracklets.tracklet_ids.tolist():
            raise InputError(f"{file} belongs to other tracklets than the dataset has now: evaluate the run again")
    headline = run.config.evaluation.get("headline", "")
    features = extraction.fuse(streams, headline if headline in streams else "")
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
            test,
            (run.protocol,),
            run.config.logging.progress,
        )
    metric = run.results.get("metric", run.config.evaluation.metric)
    if metric in LEARNED:
        metric = LEARNED[metric].load(run.workdir / "metrics" / f"{metric}-system.npz")
    return evaluation.FeatureDistances(features, metric)
