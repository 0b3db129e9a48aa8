"""Film strips of tracklets for the pages, made when they are first asked for and kept in memory."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable

import numpy as np

from vreid_jax import data
from vreid_jax.errors import InputError
from vreid_jax.report.pictures import HEIGHT, WIDTH, join_frames, strip_jpeg
from vreid_jax.search.sources import gallery_tracklets
from vreid_jax.serving.people import People
from vreid_jax.serving.refusal import Refusal
from vreid_jax.visualize.heads import blur_heads

SIZES = {"small": (HEIGHT, WIDTH), "large": (2 * HEIGHT, 2 * WIDTH)}
MOST_BYTES = 128 * 2**20

log = logging.getLogger(__name__)


class Strips:
    """JPEG film strips: eight frames of a tracklet, side by side."""

    def __init__(self, data_dir: str | None = None, blur_faces: bool = False):
        """Begin with none.

        Args:
          data_dir: where datasets are, for galleries made from one.
          blur_faces: whether to blur every head.
        """
        self._data_dir, self._blur = data_dir, blur_faces
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[tuple, bytes] = collections.OrderedDict()
        self._size = 0
        self._opened: dict[str, data.Tracklets] = {}
        self._opening = threading.Lock()

    def of_person(self, people: People, place: int, size: str, *, blur: bool = False) -> bytes:
        """Return the strip of a tracklet in one of `SIZES`; `Refusal` when its pictures have gone."""
        blur = blur or self._blur
        return self._once((people.key(place), size, blur), lambda: self._read(people, place, size, blur))

    def of_frames(self, frames: np.ndarray, size: str, *, blur: bool = False) -> bytes:
        """Return the strip of frames `[T, H, W, 3]` of an upload."""
        shown = frames[np.linspace(0, len(frames) - 1, 8).round().astype(int)]
        return join_frames(blur_heads(shown) if blur or self._blur else shown, *SIZES[size])

    def clear(self) -> None:
        """Forget every strip."""
        with self._lock:
            self._kept.clear()
            self._opened.clear()
            self._size = 0

    def _once(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._size += len(made)
            while self._size > MOST_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made

    def _read(self, people: People, place: int, size: str, blur: bool) -> bytes:
        try:
            tracklets, row = self._tracklet(people, place)
            height, width = SIZES[size]
            return strip_jpeg(tracklets, row, height=height, width=width, blur_faces=blur)
        except (InputError, OSError) as error:  # the sentence names folders of the machine
            log.warning("no pictures of %s: %s", people.key(place), error)
            raise Refusal(404, "The pictures of this tracklet are not there any more, or have changed.") from error

    def _tracklet(self, people: People, place: int) -> tuple[data.Tracklets, int]:
        """Return tracklets and the row in them of one tracklet; a folder is opened alone, a dataset once."""
        name, _ = people.key(place)
        gallery, row = people.galleries[name], people.row[place]
        if gallery.columns["folder"][row]:
            return gallery_tracklets(gallery, np.array([row]), self._data_dir), 0
        with self._opening:
            if name not in self._opened:
                self._opened[name] = gallery_tracklets(gallery, np.arange(len(gallery)), self._data_dir)
        return self._opened[name], int(row)
