"""Mean and standard deviation of scores over the splits of a dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vreid_jax.errors import InputError


def mean_std_over_splits(summaries: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compute the mean and the standard deviation of each entry over splits.

    Args:
      summaries: of each split, as `Ranking.summary` returns it: numbers and lists of numbers by name.

    Returns:
      The means and the standard deviations by name. The deviation is that of a sample (divided by the number of splits
      minus one), 0 for a single split. Integers that are the same in all splits, as most counts are, stay integers.

    Raises:
      InputError: without a split, or when the splits do not have the same entries.
    """
    if not summaries:
        raise InputError("mean_std_over_splits needs the results of at least one split.")
    if any(set(summary) != set(summaries[0]) for summary in summaries):
        raise InputError("The splits' results do not have the same entries; they were evaluated in different ways.")
    mean: dict[str, Any] = {}
    std: dict[str, Any] = {}
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
