"""Second moments of the differences between two views, over pairs of one person and pairs of two persons."""

from typing import NamedTuple

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike


class PairCovariances(NamedTuple):
    """Means of (x - z)(x - z)ᵀ over pairs, [D, D] float64.

    Attributes:
      intra: Σ_I, over pairs of the same identity.
      extra: Σ_E, over pairs of different identities.
    """

    intra: np.ndarray
    extra: np.ndarray


def pair_covariances(x: np.ndarray, z: np.ndarray, x_pids: np.ndarray, z_pids: np.ndarray) -> PairCovariances:
    """Compute Σ_I and Σ_E over all pairs of a row of `x` [N, D] and a row of `z` [M, D] without forming a pair.

    With n_k and m_k rows of identity k in the views, the sum over same-identity pairs is
    Σ_k m_k·XₖᵀXₖ + n_k·ZₖᵀZₖ - s_k tₖᵀ - t_k sₖᵀ, where s and t are sums over the rows of k; the sum over all pairs is the
    same with a single class.

    Raises:
      InputError: when there are no same-identity pairs, or no pairs of different identities.
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
    x_sums, z_sums = _class_sums(x, x_labels, len(pids)), _class_sums(z, z_labels, len(pids))
    cross = x_sums.T @ z_sums
    intra = (x * m[x_labels][:, None]).T @ x + (z * n[z_labels][:, None]).T @ z - cross - cross.T
    cross = np.outer(x.sum(axis=0), z.sum(axis=0))
    total = len(z) * (x.T @ x) + len(x) * (z.T @ z) - cross - cross.T
    return PairCovariances(intra / same, (total - intra) / different)


def split_views(pids: ArrayLike, camids: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Split training tracklets into the two views that metric learning needs.

    The tracklets from each person's lowest camera form the gallery view and the others the probe view, so that every
    same-person pair is across cameras; with two cameras it is camera against camera.

    Args:
      pids: [N] identities.
      camids: [N] cameras.

    Returns:
      The rows of the gallery view and those of the probe view.

    Raises:
      InputError: for lengths that do not fit.
    """
    identities = arrays.identities("pids", pids, np.size(pids))
    cameras = arrays.identities("camids", camids, len(identities))
    _, labels = np.unique(identities, return_inverse=True)
    lowest = np.full(labels.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, labels, cameras)
    in_gallery = cameras == lowest[labels]
    return np.flatnonzero(in_gallery), np.flatnonzero(~in_gallery)


def _class_sums(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sum [count, D] of the rows of `values` [N, D] with each label."""
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    sums = np.zeros((count, values.shape[1]))
    sums[present] = np.add.reduceat(values[order], first, axis=0)
    return sums
