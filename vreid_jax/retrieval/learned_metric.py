"""The base of learned metrics: a projection, a matrix in the projected space, and a file that stores both."""

import os
import zipfile

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.retrieval import arrays
from vreid_jax.retrieval.arrays import ArrayLike


class LearnedMetric:
    """A squared distance (a - b)ᵀ W M Wᵀ (a - b) that is learned by `fit`.

    Attributes:
      projection: W [D, R], None before `fit` or `load`.
      matrix: M [R, R], likewise.
    """

    projection: np.ndarray | None = None
    matrix: np.ndarray | None = None

    def fit(
        self, gallery_view: ArrayLike, probe_view: ArrayLike, gallery_pids: ArrayLike, probe_pids: ArrayLike
    ) -> "LearnedMetric":
        """Learn the metric from two views of the same persons.

        Args:
          gallery_view: [N, D] features of one view.
          probe_view: [M, D] features of the other.
          gallery_pids: [N] identities.
          probe_pids: [M] identities.

        Returns:
          This object.

        Raises:
          InputError: for NaN, lengths that do not fit, and features or identities from which nothing can be learned.
        """
        gallery, probe = arrays.pair_of_features("gallery_view", gallery_view, "probe_view", probe_view, np.float64)
        own_gallery_pids = arrays.identities("gallery_pids", gallery_pids, len(gallery))
        own_probe_pids = arrays.identities("probe_pids", probe_pids, len(probe))
        try:
            self.projection, self.matrix = self._learn(gallery, probe, own_gallery_pids, own_probe_pids)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"{type(self).__name__} cannot be learned from these features ({error}): are they all equal, or very large?"
            ) from error
        return self

    def _learn(
        self, gallery: np.ndarray, probe: np.ndarray, gallery_pids: np.ndarray, probe_pids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return W and M, in float64; may raise `LinAlgError`."""
        raise NotImplementedError

    def distance(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
        """Compute squared distances [Q, G], float32, of `a` [Q, D] and `b` [G, D]; the computation is in float64.

        Raises:
          InputError: before `fit`, for NaN, dimensions that do not fit, and distances that overflow float32.
        """
        projection, matrix = self._fitted()
        queries, gallery = arrays.pair_of_features("a", a, "b", b, np.float64)
        if queries.shape[1] != len(projection):
            raise InputError(f"a and b have {queries.shape[1]} dimensions; the metric was fitted on {len(projection)}.")
        queries, gallery = queries @ projection, gallery @ projection
        own_queries, own_gallery = (np.einsum("nr,nr->n", each @ matrix, each) for each in (queries, gallery))
        result = queries @ (-2.0 * matrix) @ gallery.T
        result += own_queries[:, None]
        result += own_gallery[None, :]
        with np.errstate(over="ignore"):
            result = result.astype(np.float32)
        if not np.isfinite(result).all():
            raise InputError("a and b have values too large for squared distances in float32; scale the features down.")
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted metric to `path` (.npz)."""
        projection, matrix = self._fitted()
        with atomic_file(path) as half, half.open("wb") as file:
            np.savez(file, kind=np.array(type(self).__name__), projection=projection, matrix=matrix)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LearnedMetric":
        """Read the metric that `save` wrote to `path`.

        Raises:
          InputError: if there is no such file, or it contains something else.
        """
        metric = cls()
        try:
            with np.load(path) as stored:
                kind = str(stored["kind"]) if "kind" in stored else "no metric"
                if kind == cls.__name__:
                    metric.projection, metric.matrix = stored["projection"], stored["matrix"]
        except (OSError, ValueError, LookupError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise InputError(f"{os.fspath(path)} cannot be read as a saved {cls.__name__}: {error}.") from error
        if kind != cls.__name__:
            raise InputError(f"{os.fspath(path)} holds {kind}, not {cls.__name__}.")
        return metric

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self.projection is None or self.matrix is None:
            raise InputError(f"{type(self).__name__} has not been fitted: call fit(…) or load(…) first.")
        return self.projection, self.matrix
