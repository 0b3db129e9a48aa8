"""Scores of a run and of its baselines: features, distances, and `results.json`."""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vreid_jax import data, evaluation
from vreid_jax.config import dataset_name
from vreid_jax.errors import InputError, NonFiniteLoss
from vreid_jax.evaluation.features import color_histogram, extract_stream, fuse
from vreid_jax.evaluation.metric import LEARNED, fit_metric
from vreid_jax.evaluation.pair_distances import pair_distances
from vreid_jax.experiment.results import Results
from vreid_jax.experiment.setup import Setup
from vreid_jax.experiment.workdir import folder_of_results, opened_workdir
from vreid_jax.files import atomic_file
from vreid_jax.runtime.mesh import make_mesh, replicate
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.position import Position


def restore_variables(setup: Setup) -> tuple[dict, Position]:
    """Read the network's variables, and where the run stands, from the newest checkpoint that is not damaged.

    Raises:
      InputError: when there is none, or it is of another model.
    """
    with contextlib.closing(Checkpoints(setup.workdir, setup.settings.checkpoint.keep)) as checkpoints:
        found = checkpoints.newest(
            lambda step: (checkpoints.variables(step, setup.abstract_variables), checkpoints.position(step))
        )
        if found is None:
            raise InputError(f"workdir {setup.workdir} holds no complete checkpoint; train first")
        return found


def score(setup: Setup, variables: dict, position: Position, unfinished: str = "") -> Results:
    """Score a network and the baselines, write `features/`, `config.json` and `results.json`, print the table.

    `unfinished` says in a sentence what is still to be trained, "" for a finished run; the results say it, too.

    With shuffled frames, a control, or on another dataset every file has a name of its own and nothing of the
    ordinary evaluation changes. All appear at the end: an evaluation that fails leaves those of the one before.
    """
    settings, test = setup.settings.evaluation, setup.test
    started = time.perf_counter()
    variables = replicate(variables, make_mesh(jax.local_devices()))  # once, for all streams and the similarity
    results = Results(
        system=setup.settings.system,
        dataset=setup.test_dataset,
        split=setup.test_split,
        seed=setup.settings.seed,
        step=position.step,
        protocols={},
        skipped_frames=int(setup.test_metadata.get("skipped_frames", 0)),
        extra={
            "dataset_config": settings.dataset or setup.settings.data.name,
            "shuffled_frames": settings.shuffle_frames,
        },
    )
    twins = setup.test_metadata.get("twins", ())
    files: dict[Path, Callable[[Path], None]] = {}  # and what writes each
    for name, distances in _distances(setup, "", variables, files).items():
        scores = evaluation.score(test, distances, setup.protocols)
        scores |= evaluation.selection_scores(test, distances, settings.selections)
        if name == "system":
            results.protocols = scores
            results.extra["open_set"] = evaluation.open_set(test, distances, setup.protocols[0])
            if settings.rerank:
                results.reranked = evaluation.score(test, distances, setup.protocols, rerank=True)
        else:
            results.streams[name] = scores
        if (between := evaluation.twin_scores(test, distances, twins))["num_pairs"]:  # 0 where twins are not held out
            results.twins[name] = between
    for name in settings.baselines:
        untrained = setup.new_variables() if name == "untrained" else None
        distances = _distances(setup, f"{name}-", untrained, files, only_system=True)
        results.baselines[name] = evaluation.score(test, distances["system"], setup.protocols)
    main = next(iter(results.protocols.values()))
    results.invalid_queries = main["num_queries"] - main["num_valid_queries"]
    results.extra |= {"metric": settings.metric}
    if unfinished:
        results.extra["unfinished"] = unfinished
    if settings.dataset:
        results.extra["trained_on"] = dataset_name(setup.config)
    if folder := folder_of_results(setup.config):
        results.extra["path"] = folder
    if setup.settings.data.validation:
        results.extra["validation"] = setup.settings.data.validation
    if source := setup.test_metadata.get("split_source"):
        results.extra["split_source"] = source
    results.extra |= {"train_seconds": position.seconds, "evaluation_seconds": time.perf_counter() - started}
    if jax.process_index() == 0:
        # All are written before any takes its place, and the one that was entered first does so last.
        with contextlib.ExitStack() as halves:
            if not settings.suffix:  # a control, or another dataset, leaves the run as it is
                halves.enter_context(opened_workdir(setup.workdir, setup.config))
            for path, write in {setup.workdir / f"results{settings.suffix}.json": results.write, **files}.items():
                write(halves.enter_context(atomic_file(path)))
        print(results.table(), flush=True)
    return results


def _distances(
    setup: Setup,
    prefix: str,
    variables: dict | None,
    files: dict[Path, Callable[[Path], None]],
    only_system: bool = False,
) -> dict[str, evaluation.Distances]:
    """Return distances between test tracklets by table, the system's and each stream's, in the configured metric.

    Without `variables` the features are colour histograms. A learned metric is fitted for each table on the
    training split's features of the same kind. What writes features and metrics is noted in `files`.
    """
    settings, train_source = setup.settings.evaluation, setup.train_source
    streams = stream_features(setup, setup.test.tracklets, prefix, variables)
    files |= _feature_files(setup, prefix, streams)
    tables, training = _with_system(streams, settings.headline), {}
    if settings.metric in LEARNED:
        training = _with_system(stream_features(setup, train_source, prefix, variables), settings.headline)
    found = {}
    for name in ("system",) if only_system else tables:
        fitted = settings.metric
        if fitted in LEARNED:
            fitted = fit_metric(fitted, training[name], train_source.pids, train_source.camids)
            if jax.process_index() == 0:
                folder = _folder(setup.workdir / "metrics")
                files[folder / f"{settings.metric}-{prefix}{name}{settings.suffix}.npz"] = fitted.save
        if tables[name].ndim == 3:
            found[name] = pair_distances(
                setup.network.module,
                variables,
                tables[name],
                settings,
                setup.mesh,
                setup.system.similarity,
                prefix + name,
                setup.test,
                setup.protocols,
                setup.settings.logging.progress,
            )
        else:
            found[name] = evaluation.FeatureDistances(tables[name], fitted)
    return found


def stream_features(
    setup: Setup, tracklets: data.Tracklets, prefix: str, variables: dict | None
) -> dict[str, np.ndarray]:
    """Return the features `[N, D]` of each stream, or without `variables` colour histograms, under an empty name.

    Raises:
      NonFiniteLoss: for features that are not finite.
    """
    if variables is None:
        return {"": color_histogram(tracklets, setup.settings.data.size)}
    streams = {
        name: extract_stream(setup.network, variables, tracklets, stream, setup.extraction, name=f"{prefix}{name}")
        for name, stream in setup.settings.evaluation.streams.items()
    }
    for name, features in streams.items():
        if not np.isfinite(features).all():
            raise NonFiniteLoss(f"the features {prefix}{name} are not all finite: the network has diverged")
    return streams


def _with_system(streams: dict[str, np.ndarray], headline: str) -> dict[str, np.ndarray]:
    """Return the features of the system, fused or the headline's, and, if there are several streams, those of each."""
    return {"system": fuse(streams, headline if headline in streams else ""), **(streams if len(streams) > 1 else {})}


def _feature_files(setup: Setup, prefix: str, streams: dict[str, np.ndarray]) -> dict[Path, Callable[[Path], None]]:
    """Return the files of features, and what writes each; processes but the first write none."""
    if jax.process_index():
        return {}
    folder, suffix = _folder(setup.workdir / "features"), setup.settings.evaluation.suffix
    return {
        folder / f"{f'{prefix}{name}'.removesuffix('-')}{suffix}.npz": functools.partial(
            _write_features, setup.test.tracklets, features
        )
        for name, features in streams.items()
    }


def _write_features(tracklets: data.Tracklets, features: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            features=features,
            tracklet_ids=tracklets.tracklet_ids,
            pids=tracklets.pids,
            camids=tracklets.camids,
        )


def _folder(path: Path) -> Path:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be made a folder ({error.strerror}): remove what is there") from error
    return path
