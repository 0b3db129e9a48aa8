"""Second moments of differences between two views, over pairs of one person and pairs of two."""

from typing import NamedTuple

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays


class PairCovariances(NamedTuple):
    """Means of (x - z)(x - z)ᵀ over pairs, [D, D] float64."""

    intra: np.ndarray
    """Over pairs of the same identity: Σ_I."""
    extra: np.ndarray
    """Over pairs of different identities: Σ_E."""


def pair_covariances(x: np.ndarray, z: np.ndarray, x_pids: np.ndarray, z_pids: np.ndarray) -> PairCovariances:
    """Σ_I and Σ_E over all pairs of a row of `x` [N, D] and a row of `z` [M, D]; no pair is formed.

    With n_k and m_k rows of identity k in the views, Σ over same-identity pairs is
    Σ_k m_k·XₖᵀXₖ + n_k·ZₖᵀZₖ - s_k tₖᵀ - t_k sₖᵀ (s, t: sums over the rows of k), over all pairs the same with one class.
    Raises `InputError` when there is no pair of one of the two kinds.
    """
    pids, labels = np.unique(np.concatenate([x_pids, z_pids]), return_inverse=True)
    x_labels, z_labels = labels[: len(x)], labels[len(x) :]
    n, m = (np.bincount(part, minlength=len(pids)) for part in (x_labels, z_labels))
    same = int(n @ m)
    different = len(x) * len(z) - same
    if not same:
        raise InputError("Metric learning needs a person who is in both views; no identity is.")
    if not different:
        raise InputError("Metric learning needs at least two persons; all training features are of one identity.")
    x_sums, z_sums = (_sums(values, part, len(pids)) for values, part in ((x, x_labels), (z, z_labels)))
    cross = x_sums.T @ z_sums
    intra = (x * m[x_labels][:, None]).T @ x + (z * n[z_labels][:, None]).T @ z - cross - cross.T
    cross = np.outer(x.sum(axis=0), z.sum(axis=0))
    every = len(z) * (x.T @ x) + len(x) * (z.T @ z) - cross - cross.T
    return PairCovariances(intra / same, (every - intra) / different)


def split_views(pids, camids) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the gallery view and of the probe view for training on tracklets `pids` [N], `camids` [N].

    The tracklets of each person's lowest camera are the gallery view, those of the others the probe view, so that every
    pair of the same person is across cameras. With two cameras that is camera against camera. Raises `InputError` for
    lengths that do not fit.
    """
    pids = arrays.identities("pids", pids, np.size(pids))
    camids = arrays.identities("camids", camids, len(pids))
    _, labels = np.unique(pids, return_inverse=True)
    lowest = np.full(labels.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, labels, camids)
    in_gallery = camids == lowest[labels]
    return np.flatnonzero(in_gallery), np.flatnonzero(~in_gallery)


def _sums(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    sums = np.zeros((count, values.shape[1]))
    sums[present] = np.add.reduceat(values[order], first, axis=0)
    return sums
