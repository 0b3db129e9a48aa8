"""KISSME: keep it simple and straightforward metric learning."""

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval.learned_metric import LearnedMetric
from vreid_jax.retrieval.pair_covariance import pair_covariances

# Directions without variance carry no information, and their covariance cannot be inverted.
SMALLEST_VARIANCE = 1e-10


class KISSME(LearnedMetric):
    """KISSME (Köstinger et al., CVPR 2012) after PCA.

    M = Σ_S⁻¹ - Σ_D⁻¹ (equation 13), where Σ_S and Σ_D are the covariances of the differences over all pairs across the
    two views, of the same person and of different persons. Both get `regularizer` times their mean variance on the
    diagonal. M is then projected to the cone of positive semi-definite matrices, as in the paper, so that distances are
    never negative.

    Args:
      dimensions: of the PCA; None for as many as the training features span.
      regularizer: of the covariances, not negative.

    Raises:
      InputError: for values out of range.
    """

    def __init__(self, dimensions: int | None = None, regularizer: float | int = 1e-3):
        if dimensions is not None and dimensions < 1:
            raise InputError(f"KISSME: dimensions must be at least 1, not {dimensions}.")
        if regularizer < 0:
            raise InputError(f"KISSME: regularizer must not be negative, but is {regularizer}.")
        self.dimensions, self.regularizer = dimensions, regularizer

    def _learn(
        self, gallery: np.ndarray, probe: np.ndarray, gallery_pids: np.ndarray, probe_pids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        samples = np.concatenate([gallery, probe])
        # The projected features are not centred: a mean cancels in differences.
        _, values, right = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
        supported = int((values**2 > SMALLEST_VARIANCE * values[0] ** 2).sum()) if values[0] > 0 else 0
        if not supported:
            raise InputError("KISSME: all training features are equal.")
        if self.dimensions is not None and self.dimensions > supported:
            raise InputError(
                f"KISSME: dimensions is {self.dimensions}, but the training features span {supported}; lower it."
            )
        projection = right[: self.dimensions or supported].T
        same, different = pair_covariances(gallery @ projection, probe @ projection, gallery_pids, probe_pids)
        if not np.trace(same) > SMALLEST_VARIANCE * np.trace(different):
            raise InputError("KISSME: the training features of each person are all equal.")
        matrix = self._regularized_inverse(same) - self._regularized_inverse(different)
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return projection, (vectors * np.maximum(values, 0.0)) @ vectors.T

    def _regularized_inverse(self, covariance: np.ndarray) -> np.ndarray:
        size = len(covariance)
        scale: float = self.regularizer * float(np.trace(covariance)) / size
        return np.linalg.inv(covariance + scale * np.eye(size))
