"""What learned metrics share: a projection and a matrix in the projected space, distances with them, a file."""

import os
import zipfile

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.retrieval import arrays


class LearnedMetric:
    """A squared distance (a - b)ᵀ W M Wᵀ (a - b), from `fit`; W [D, R] is `projection`, M [R, R] `matrix`."""

    projection: np.ndarray | None = None
    matrix: np.ndarray | None = None

    def fit(self, gallery_view, probe_view, gallery_pids, probe_pids) -> "LearnedMetric":
        """Learns from `gallery_view` [N, D] and `probe_view` [M, D] with their identities; returns this object.

        Raises `InputError` for NaN, lengths that do not fit, and features or identities that nothing can be learned from.
        """
        gallery, probe = arrays.pair_of_features("gallery_view", gallery_view, "probe_view", probe_view, np.float64)
        gallery_pids = arrays.identities("gallery_pids", gallery_pids, len(gallery))
        probe_pids = arrays.identities("probe_pids", probe_pids, len(probe))
        try:
            self.projection, self.matrix = self._learn(gallery, probe, gallery_pids, probe_pids)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"{type(self).__name__} cannot be learned from these features ({error}): are they all equal, or very large?"
            ) from error
        return self

    def _learn(self, gallery, probe, gallery_pids, probe_pids) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def distance(self, a, b) -> np.ndarray:
        """Squared distances [len(a), len(b)], float32, computed in float64 from `a` [Q, D] and `b` [G, D]."""
        self._fitted()
        a, b = arrays.pair_of_features("a", a, "b", b, np.float64)
        if a.shape[1] != len(self.projection):
            raise InputError(f"a and b have {a.shape[1]} dimensions; the metric was fitted on {len(self.projection)}.")
        a, b = a @ self.projection, b @ self.projection
        own_a, own_b = (np.einsum("nr,nr->n", values @ self.matrix, values) for values in (a, b))
        result = a @ (-2.0 * self.matrix) @ b.T
        result += own_a[:, None]
        result += own_b[None, :]
        with np.errstate(over="ignore"):
            result = result.astype(np.float32)
        if not np.isfinite(result).all():
            raise InputError("a and b have values too large for squared distances in float32; scale the features down.")
        return result

    def save(self, path: str | os.PathLike) -> None:
        """Writes the fitted metric to `path` (.npz)."""
        self._fitted()
        with atomic_file(path) as half, half.open("wb") as file:
            np.savez(file, kind=type(self).__name__, projection=self.projection, matrix=self.matrix)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "LearnedMetric":
        """The metric that `save` wrote to `path`; `InputError` if there is no such file, or it holds something else."""
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

    def _fitted(self) -> None:
        if self.projection is None:
            raise InputError(f"{type(self).__name__} has not been fitted: call fit(…) or load(…) first.")
