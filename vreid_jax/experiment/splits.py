"""`split=all`: a data set's splits one after the other, each in a folder of its own, and the mean over them."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict

from vreid_jax.config import NUM_SPLITS, dataset_name, dataset_of
from vreid_jax.config.run import Evaluation
from vreid_jax.datasets import load_builder
from vreid_jax.errors import InputError
from vreid_jax.experiment.results import Results, read_results
from vreid_jax.experiment.workdir import check_checkpoints, check_results, check_workdir, open_workdir, opened_workdir
from vreid_jax.json_files import read_json
from vreid_jax.retrieval.splits import mean_std_over_splits


def run_all_splits(
    config: ConfigDict, workdir: Path, mode: str, run: Callable[[ConfigDict, Path, str], Results | None]
) -> Results | None:
    """Run every split in `workdir/split_<n>` and gather them in `workdir`, which may be resumed anywhere.

    A split whose results are there, and were made by this very configuration, is not run again, but in mode
    `evaluate`.

    Args:
      config: with `split` "all".
      workdir: folder of the run.
      mode: of `train_and_evaluate`.
      run: runs one split.

    Returns:
      The results, whose scores are means over the splits; nothing in mode `train`.

    Raises:
      InputError: the dataset has no splits, one of them is not prepared, or, in mode `evaluate`, not trained, or
        `evaluation.dataset` is a dataset of several splits; before anything is written.
    """
    configs = list(_configs(config))
    evaluated = Evaluation.parse(config.evaluation)
    if dataset_of(evaluated.dataset) in NUM_SPLITS:
        raise InputError(
            f"evaluation.dataset is {evaluated.dataset!r}, and split is 'all': every split's model would be scored on one "
            f"split of that dataset; leave evaluation.dataset empty, or evaluate the folder of one split, as {workdir / 'split_0'}"
        )
    for own in configs:
        load_builder(dataset_name(own), own.data.data_dir or None, progress=config.logging.progress)
    suffix = evaluated.suffix
    for own in configs if mode == "evaluate" else ():
        check_checkpoints(workdir / f"split_{own.split}")
    for place in (workdir, *(workdir / f"split_{own.split}" for own in configs)):
        check_results(place, config)
    scored = all((workdir / f"split_{own.split}" / "results.json").exists() for own in configs)
    if mode == "evaluate" or (scored and mode == "train_and_evaluate"):  # it changes together with the results
        check_workdir(workdir, config)
    else:
        open_workdir(workdir, config)
    name = f"results{suffix}.json"
    contents = []
    for own in configs:
        folder = workdir / f"split_{own.split}"
        content = _finished(own, folder, name) if mode == "train_and_evaluate" else None
        if content is None:
            results = run(own, folder, mode)
            content = results.content() if results else None
        contents.append(content)
    if mode == "train":
        return None
    results = gather(contents)
    if jax.process_index() == 0:
        # A control, or another dataset, leaves the run as it is.
        with contextlib.nullcontext() if suffix else opened_workdir(workdir, config):
            results.save(workdir / name)
        print(results.table(), flush=True)
    return results


def gather(contents: list[dict]) -> Results:
    """Return the means over the contents of several splits' `results.json`, with the deviations in `std`.

    Where models of all splits were scored on one other dataset, `split` is the one of that.

    Raises:
      InputError: the splits were evaluated in different ways, or some of them are not trained to the end.
    """
    first = contents[0]
    reached = [content.get("unfinished", "") for content in contents]
    if len(set(reached)) > 1:
        number = next(number for number, unfinished in enumerate(reached) if unfinished)
        raise InputError(
            f"the splits have not come equally far, to be averaged: of split_{number}, {reached[number]}; go on with the "
            "training first, by the command that began it"
        )
    means = {
        part: {name: _mean(contents, part, name)[0] for name in first.get(part, {})}
        for part in ("protocols", "reranked")
    }
    for part in ("streams", "baselines"):
        means[part] = {
            title: {name: _mean([content[part] for content in contents], title, name)[0] for name in first[part][title]}
            for title in first[part]
        }
    sources = sorted({content.get("split_source", "") for content in contents})
    trained_on = first.get("trained_on", "").partition("/")[0]
    return Results(
        system=first["system"],
        dataset=first["dataset"],
        split=first["split"] if trained_on else "all",
        seed=first["seed"],
        step=first["step"],
        skipped_frames=sum(content["skipped_frames"] for content in contents),
        invalid_queries=sum(content["invalid_queries"] for content in contents),
        splits=contents,
        std={name: _mean(contents, "protocols", name)[1] for name in first["protocols"]},
        extra={
            "split_source": "; ".join(sources),
            "metric": first["metric"],
            "shuffled_frames": first["shuffled_frames"],
            **{key: first[key] for key in ("dataset_config", "path", "validation", "unfinished") if key in first},
            **({"trained_on": trained_on} if trained_on else {}),
            "train_seconds": sum(content["train_seconds"] for content in contents),
            "evaluation_seconds": sum(content["evaluation_seconds"] for content in contents),
        },
        **means,
    )


def _mean(contents: list[dict], part: str, name: str) -> tuple[dict, dict]:
    return mean_std_over_splits([content[part][name] for content in contents])


def _configs(config: ConfigDict) -> Iterator[ConfigDict]:
    if config.dataset not in NUM_SPLITS:
        dataset_name(config)  # says so
    for number in range(NUM_SPLITS[config.dataset]):
        own = config.copy_and_resolve_references()
        with own.ignore_type():
            own.split = number
        yield own


def _finished(config: ConfigDict, folder: Path, name: str) -> dict | None:
    """Return the content of a split's results, if this configuration made them."""
    made_by, results = folder / "config.json", folder / name
    try:
        # A start writes the configuration, and its end the results.
        if results.stat().st_mtime_ns < made_by.stat().st_mtime_ns:
            return None
        same = read_json(made_by, {}) == json.loads(config.to_json())
        content = read_results(results) if same else None
        return None if content and "unfinished" in content else content
    except (OSError, InputError):  # whatever is wrong with them, the split is run again
        return None
