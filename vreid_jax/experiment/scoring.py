"""What a run found out: its features, distances and scores, those of the baselines, and `results.json`."""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vreid_jax import evaluation
from vreid_jax.errors import InputError, NonFiniteLoss
from vreid_jax.evaluation import features as extraction
from vreid_jax.evaluation.metric import LEARNED, fit_metric
from vreid_jax.evaluation.pair_distances import pair_distances
from vreid_jax.experiment.results import Results
from vreid_jax.files import atomic_file
from vreid_jax.training.network import normalisation
from vreid_jax.training.position import Position
from vreid_jax.training.state import TrainState


def score_run(run, state: TrainState, place: Position) -> Results:
    """Score the state and the baselines, write `features/` and `results.json`, print the table.

    With shuffled frames, a control, or on another dataset every file has a name of its own and nothing of the
    ordinary evaluation changes.
    """
    config = run.config
    started = time.perf_counter()
    results = Results(
        system=config.system,
        dataset=run.test_dataset,
        split=config.split,
        seed=config.seed,
        step=place.step,
        protocols={},
        skipped_frames=int((run.builder.info.metadata or {}).get("skipped_frames", 0)),
        extra={
            "dataset_config": config.evaluation.dataset or config.data.name,
            "shuffled_frames": config.evaluation.shuffle_frames,
        },
    )
    twins = (run.builder.info.metadata or {}).get("twins", ())
    for name, distances in _distances(run, "", {"params": state.params, "batch_stats": state.batch_stats}).items():
        scores = evaluation.score(run.test, distances, run.protocols)
        scores |= evaluation.selection_scores(run.test, distances, config.evaluation.selections)
        if name == "system":
            results.protocols = scores
            results.extra["open_set"] = evaluation.open_set(run.test, distances, run.protocols[0])
            if config.evaluation.rerank:
                results.reranked = evaluation.score(run.test, distances, run.protocols, rerank=True)
        else:
            results.streams[name] = scores
        if twins:
            results.twins[name] = evaluation.twin_scores(run.test, distances, twins)
    for name in config.evaluation.baselines:
        distances = _distances(run, f"{name}-", run.new_variables() if name == "untrained" else None, only_system=True)
        results.baselines[name] = evaluation.score(run.test, distances["system"], run.protocols)
    main = next(iter(results.protocols.values()))
    results.invalid_queries = main["num_queries"] - main["num_valid_queries"]
    results.extra |= {"metric": config.evaluation.metric}
    if source := (run.builder.info.metadata or {}).get("split_source"):
        results.extra["split_source"] = source
    results.extra |= {"train_seconds": place.seconds, "evaluation_seconds": time.perf_counter() - started}
    if jax.process_index() == 0:
        results.save(run.workdir / f"results{run.suffix}.json")
        print(results.table(), flush=True)
    return results


def _distances(run, prefix: str, variables, only_system: bool = False) -> dict[str, Callable]:
    """Distances between test tracklets by table, the system's and each stream's, in the configured metric.

    Without `variables` the features are colour histograms. A learned metric is fitted for each table on the
    training split's features of the same kind.
    """
    metric = run.config.evaluation.metric
    tables = feature_tables(run, run.test.tracklets, prefix, variables)
    training = feature_tables(run, run.train_source, prefix, variables) if metric in LEARNED else {}
    found = {}
    for name in ("system",) if only_system else tables:
        fitted = metric
        if metric in LEARNED:
            fitted = fit_metric(metric, training[name], run.train_source.pids, run.train_source.camids)
            if jax.process_index() == 0:
                fitted.save(_folder(run, "metrics") / f"{metric}-{prefix}{name}{run.suffix}.npz")
        if tables[name].ndim == 3:
            found[name] = pair_distances(
                run.module, variables, tables[name], run.config, run.mesh, run.entry.similarity, prefix + name
            )
        else:
            found[name] = evaluation.feature_distances(tables[name], fitted)
    return found


def feature_tables(run, tracklets, prefix: str, variables) -> dict[str, np.ndarray]:
    """Features `[N, D]` of the system and, where there are several, of each stream; those of the test are kept."""
    if variables is None:
        streams = {"": extraction.color_histogram(tracklets, run.config)}
    else:
        streams = {
            name: extraction.extract_stream(
                run.module,
                variables,
                tracklets,
                stream,
                config=run.config,
                **normalisation(run.config.data, run.entry),
                name=f"{prefix}{name}",
            )
            for name, stream in run.config.evaluation.streams.items()
        }
    for name, features in streams.items():
        if not np.isfinite(features).all():
            raise NonFiniteLoss(
                f"the features {prefix}{name} have values that are no numbers: the network has diverged"
            )
    if tracklets is run.test.tracklets:
        for name, features in streams.items():
            _write_features(run, f"{prefix}{name}".removesuffix("-"), features)
    return {"system": extraction.fuse(streams), **(streams if len(streams) > 1 else {})}


def _write_features(run, name: str, features: np.ndarray) -> None:
    if jax.process_index():
        return
    tracklets = run.test.tracklets
    with atomic_file(_folder(run, "features") / f"{name}{run.suffix}.npz") as half, half.open("wb") as file:
        np.savez(
            file,
            features=features,
            tracklet_ids=tracklets.tracklet_ids,
            pids=tracklets.pids,
            camids=tracklets.camids,
        )


def _folder(run, name: str) -> Path:
    folder = run.workdir / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made a folder ({error.strerror}): remove what is there") from error
    return folder
