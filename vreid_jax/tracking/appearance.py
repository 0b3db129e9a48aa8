"""What the people in a frame look like, by a model of this library: to tell who comes out from behind something."""

from collections.abc import Sequence

import numpy as np

from vreid_jax.datasets.video.box_linking import Box
from vreid_jax.datasets.video.tracks import clip_box
from vreid_jax.inference import Model
from vreid_jax.tracking.association import Appearance

_AT_ONCE = 16  # frames in a batch; always as many, for one compilation


class Looks:
    """Gives vectors of boxes in a frame."""

    def __init__(self, model: Model):
        """Embed with `model`."""
        self.model = model

    def in_frame(self, frame: np.ndarray) -> Appearance:
        """Return what gives unit vectors `[N, D]` of boxes `[N, 4]` in a frame, uint8 `[H, W, 3]` RGB."""

        def embed(boxes: np.ndarray) -> np.ndarray:
            vectors = self.model.embed_tracklets(_Crops([_crop(frame, box) for box in boxes]), batch_frames=_AT_ONCE)
            return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

        return embed


def _crop(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    inside = clip_box(Box(1, -1, *map(float, box)), *frame.shape[:2])
    if inside is None:  # less than a pixel of it
        return np.zeros((8, 4, 3), np.uint8)
    top, bottom, left, right = inside
    return frame[top:bottom, left:right]


class _Crops:
    """Pictures, uint8 `[H, W, 3]` RGB each, as `data.Tracklets` of one frame each."""

    def __init__(self, crops: Sequence[np.ndarray]):
        self._crops = crops
        self.tracklet_ids = np.array([str(n) for n in range(len(crops))])
        self.pids, self.camids = np.zeros(len(crops), np.int64), np.zeros(len(crops), np.int64)
        self.num_frames = np.ones(len(crops), np.int64)

    def __len__(self) -> int:
        return len(self._crops)

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Return the frame as often as it is asked for."""
        return self._crops[row][None][np.zeros_like(frame_numbers)]
