"""Vectors of pieces of a gallery's tracklets: pairs that are certainly of one person."""

import numpy as np

from vreid_jax import data
from vreid_jax.adaptation.pieces import Pieces
from vreid_jax.errors import InputError
from vreid_jax.inference import Model
from vreid_jax.retrieval.distances import prepare
from vreid_jax.search import Gallery
from vreid_jax.search.embedding import embed_finite
from vreid_jax.search.sources import gallery_tracklets

PIECES = 4
LEAST_FRAMES = 8  # of a tracklet that is cut
LEAST_TRACKLETS = 6
MOST_TRACKLETS = 400


def piece_vectors(model: Model, gallery: Gallery, data_dir: str | None = None, *, progress: bool = False) -> np.ndarray:
    """Return the vectors [T, 4, D] of the quarters of tracklets, in order, of unit length where the metric is "cosine".

    Args:
      model: of the gallery.
      gallery: of which the tracklets of 8 frames or more are cut, at most 400, spread over it.
      data_dir: where datasets are, for a gallery made from one.
      progress: whether to show a bar.

    Raises:
      InputError: when the pictures have gone, or too few tracklets are long enough.
    """
    rows = np.flatnonzero(gallery.columns["num_frames"] >= LEAST_FRAMES)
    if len(rows) < LEAST_TRACKLETS:
        raise InputError(
            f"{len(rows)} tracklets have {LEAST_FRAMES} pictures or more, and {LEAST_TRACKLETS} are needed to compare pieces"
        )
    if len(rows) > MOST_TRACKLETS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_TRACKLETS).round().astype(int)]
    tracklets: data.Tracklets = Pieces(gallery_tracklets(gallery, rows, data_dir), PIECES)
    vectors = prepare(embed_finite(model, tracklets, progress), gallery.about["metric"])
    return vectors.reshape(len(rows), PIECES, -1)
