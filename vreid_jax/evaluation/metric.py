"""What `config.evaluation.metric` can name: a plain distance, or one that is learned from the training split."""

import numpy as np

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval.distances import METRICS as PLAIN
from vreid_jax.retrieval.learned_metric import LearnedMetric

LEARNED = {"xqda": retrieval.XQDA, "kissme": retrieval.KISSME}


def check_metric(metric: str, pids: np.ndarray, camids: np.ndarray) -> None:
    """Raise `InputError` for an unknown metric, or one that cannot be learned from the training split (`[N]`, `[N]`)."""
    if metric not in PLAIN and metric not in LEARNED:
        known = ", ".join((*PLAIN, *LEARNED))
        raise InputError(f"evaluation.metric is {metric!r}; it is one of {known}")
    if metric in LEARNED:
        _, probe = retrieval.split_views(pids, camids)
        if not len(probe) or len(np.unique(pids)) < 2:
            raise InputError(
                f"evaluation.metric is {metric!r}, which needs a training split of at least two people, one of them seen "
                f"by two cameras; use one of {', '.join(PLAIN)}"
            )


def fit_metric(metric: str, features: np.ndarray, pids: np.ndarray, camids: np.ndarray) -> LearnedMetric:
    """Learn `metric` from the training split: `features` [N, D], `pids` and `camids` [N].

    The views are those of `retrieval.split_views`: each person's lowest camera against the others (**choice**: both
    papers have two cameras). Features are taken as they are, not normalised.
    """
    gallery, probe = retrieval.split_views(pids, camids)
    return LEARNED[metric]().fit(features[gallery], features[probe], pids[gallery], pids[probe])
