"""Drawn people to train on besides, so that a model does not forget what it was made for."""

import functools
import threading

import numpy as np

from vreid_jax import data
from vreid_jax.config import DATASETS
from vreid_jax.datasets import load_builder
from vreid_jax.datasets.walkers.wild_plan import WildPlan, WildSize, make_wild_plan
from vreid_jax.datasets.walkers.wild_scene import draw_wild_tracklet, encode_wild

DRAWN = "walkers/wild"
PEOPLE = 300  # of its training identities: as many as some hundred batches can use


def open_synthetic(name: str = DRAWN, data_dir: str | None = None, *, progress: bool = False) -> data.Tracklets:
    """Open labelled tracklets: of `walkers/wild` some people, drawn when they are read; of another dataset the split train.

    Args:
      name: of a dataset, as `datasets.load_builder` or a configuration calls it.
      data_dir: where datasets are.
      progress: whether to show bars.

    Raises:
      InputError: when there is no such dataset.
    """
    if name == DRAWN:
        return DrawnPeople(make_wild_plan(WildSize()))
    return data.TrackletSource(load_builder(DATASETS.get(name, name), data_dir or None, progress=progress), "train")


class DrawnPeople:
    """The first people of `walkers/wild` as `data.Tracklets`, drawn in memory: nothing is built and nothing written."""

    def __init__(self, plan: WildPlan, people: int = PEOPLE):
        self._plan = plan
        self._drawn = [tracklet for tracklet in plan.train if tracklet.pid <= people]
        self.pids = np.array([tracklet.pid for tracklet in self._drawn], np.int64)
        self.camids = np.array([tracklet.camid for tracklet in self._drawn], np.int64)
        self.tracklet_ids = np.array([tracklet.tracklet_id for tracklet in self._drawn])
        self.num_frames = np.full(len(self._drawn), plan.size.frames)
        self._draw = functools.lru_cache(maxsize=None)(self._encoded)  # some 30 kB a tracklet
        self._drawing = threading.Lock()

    def __len__(self) -> int:
        return len(self._drawn)

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Return frames of a tracklet, as `data.Tracklets`."""
        with self._drawing:  # the drawing's own caches are not made for several threads
            encoded = self._draw(row)
        unique, where = np.unique(frame_numbers, return_inverse=True)
        frames = data.decode_frames([encoded[number] for number in unique], str(self.tracklet_ids[row]))
        return frames[where.reshape(frame_numbers.shape)]

    def _encoded(self, row: int) -> list[bytes]:
        tracklet = self._drawn[row]
        return encode_wild(draw_wild_tracklet(self._plan, tracklet), self._plan, tracklet)
