"""Datasets with several splits: mean and spread of their scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from vreid_jax.errors import InputError


def mean_std_over_splits(summaries: Sequence[Mapping]) -> tuple[dict, dict]:
    """Mean and standard deviation of each number, or list of numbers, of `summaries` (as of `Ranking.summary`).

    The deviation is the sample's (division by the number of splits less one; 0 for a single split). Whole numbers that
    are the same in all splits, as counts mostly are, stay whole. Raises `InputError` when there is no split or the
    splits do not have the same entries.
    """
    if not summaries:
        raise InputError("mean_std_over_splits needs the results of at least one split.")
    if any(set(summary) != set(summaries[0]) for summary in summaries):
        raise InputError("The splits' results do not have the same entries; they were evaluated in different ways.")
    mean, std = {}, {}
    for name, first in summaries[0].items():
        values = [summary[name] for summary in summaries]
        if any(np.shape(value) != np.shape(first) for value in values):
            raise InputError(f"The splits' results differ in the length of {name!r}.")
        table = np.asarray(values, np.float64)
        if isinstance(first, int) and all(value == first for value in values):
            mean[name] = first
        else:
            mean[name] = table.mean(axis=0).tolist()
        std[name] = (table.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(table.shape[1:])).tolist()
    return mean, std
