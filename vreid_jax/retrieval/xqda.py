"""XQDA: cross-view quadratic discriminant analysis."""

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval.learned_metric import LearnedMetric
from vreid_jax.retrieval.pair_covariance import pair_covariances


class XQDA(LearnedMetric):
    """XQDA (Liao et al., CVPR 2015), with the subspace of its released code.

    W are the left singular vectors of (Σ_I + λI)⁻¹ Σ_E whose singular values exceed 1 (at least one), and
    M = (Wᵀ(Σ_I + λI)W)⁻¹ - (WᵀΣ_E W)⁻¹, in float64. M is not made positive semi-definite: distances can be negative, and
    rank as they are.

    Args:
      regularizer: λ, above 0.
      max_dimensions: the most columns of W; None for no limit.

    Raises:
      InputError: for values out of range.
    """

    def __init__(self, regularizer: float | int = 1e-3, max_dimensions: int | None = None):
        if regularizer <= 0:
            raise InputError(f"XQDA: regularizer must be above 0, not {regularizer}.")
        if max_dimensions is not None and max_dimensions < 1:
            raise InputError(f"XQDA: max_dimensions must be at least 1, not {max_dimensions}.")
        self.regularizer, self.max_dimensions = regularizer, max_dimensions

    def _learn(
        self, gallery: np.ndarray, probe: np.ndarray, gallery_pids: np.ndarray, probe_pids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        basis = None
        if gallery.shape[1] > len(gallery) + len(probe):
            # All differences are in the span of the samples: its coordinates give the same numbers with smaller matrices.
            basis, coordinates = np.linalg.qr(np.concatenate([gallery, probe]).T)
            gallery, probe = coordinates[:, : len(gallery)].T, coordinates[:, len(gallery) :].T
        intra, extra = pair_covariances(gallery, probe, gallery_pids, probe_pids)
        intra = intra + self.regularizer * np.eye(len(intra))
        left, values, _ = np.linalg.svd(np.linalg.solve(intra, extra))
        rank = max(1, int((values > 1).sum()))
        w = left[:, : min(rank, self.max_dimensions or rank)]
        matrix = np.linalg.inv(w.T @ intra @ w) - np.linalg.inv(w.T @ extra @ w)
        return (w if basis is None else basis @ w), (matrix + matrix.T) / 2
