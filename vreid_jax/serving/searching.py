"""Searches of many users at once: those that wait together are one call of the device."""

from __future__ import annotations

import dataclasses
import queue
import threading
from concurrent.futures import Future

import numpy as np

from vreid_jax.retrieval.resident import MOST_QUERIES, ResidentGallery
from vreid_jax.search.ranked import Decision
from vreid_jax.serving.people import Filters, People
from vreid_jax.serving.refusal import Refusal

MOST_FOUND = 200  # for one query
_PATIENCE = 60.0  # seconds
_LINGER = 10.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What to search for, and how.

    Attributes:
      filters: which tracklets may be found.
      k: how many at most.
      other_cameras: whether to find only tracklets of other known cameras than the query's.
      max_distance: largest distance that is shown, or None.
      false_accept_rate: of the threshold that decides, in (0, 1]; None as for `People.rule`.
    """

    filters: Filters = dataclasses.field(default_factory=Filters)
    k: int = 20
    other_cameras: bool = False
    max_distance: float | None = None
    false_accept_rate: float | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """A tracklet that was found.

    Attributes:
      rank: 1 for the nearest.
      place: in the table of people.
      distance: from the query.
      verdict: "within" or "beyond" the threshold of the answer, "perhaps" in the band behind it, "same time" for who was seen at the same time as the query and so is
        somebody else, or empty where nothing decides.
    """

    rank: int
    place: int
    distance: float
    verdict: str


class Searcher:
    """A thread that answers searches; the next call takes all that have come in during the last one."""

    def __init__(self, resident: ResidentGallery):
        self._resident = resident
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="searches", daemon=True).start()

    def nearest(self, vector: np.ndarray, k: int, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and rows, at most `k`, of the nearest that are not hidden; wait for the answer."""
        asked = _Asked(vector, min(k, len(self._resident)), hidden, Future())
        self._waiting.put(asked)
        return asked.answer.result(_PATIENCE)

    def close(self) -> None:
        """End the thread once nothing has come in for a while: a search that is just beginning is answered too."""
        self._waiting.put(None)

    def _work(self) -> None:
        wait, together = None, []
        while True:
            try:
                together = [self._waiting.get(timeout=wait)]
                while len(together) < MOST_QUERIES:
                    together.append(self._waiting.get_nowait())
            except queue.Empty:
                if not together:
                    return
            if None in together:
                wait = _LINGER
            if asked := [each for each in together if each is not None]:
                self._answer(asked)
            together = []

    def _answer(self, together: list[_Asked]) -> None:
        try:
            distances, rows = self._resident.top_k(
                np.stack([asked.vector for asked in together]),
                max(asked.k for asked in together),
                np.stack([asked.hidden for asked in together]),
            )
        except Exception as error:  # of one of them, which must not be the end of the thread
            for asked in together:
                asked.answer.set_exception(error)
            return
        for asked, some, where in zip(together, distances, rows, strict=True):
            real = np.isfinite(some[: asked.k])
            asked.answer.set_result((some[: asked.k][real], where[: asked.k][real]))


@dataclasses.dataclass(frozen=True)
class _Asked:
    vector: np.ndarray
    k: int
    hidden: np.ndarray
    answer: Future


def find(
    people: People, searcher: Searcher, query: int | np.ndarray, question: Question, rule: Decision | None
) -> list[Found]:
    """Find the nearest tracklets.

    Args:
      people: the table.
      searcher: of its vectors.
      query: the place of a tracklet, which does not find itself, or the vector `[D]` of somebody else.
      question: how to search.
      rule: the threshold that decides, as `People.rule` returns it.

    Raises:
      Refusal: when the vector is of another length, and as `People.hidden`.
    """
    hidden = people.hidden(question.filters)
    own = query if isinstance(query, int) else None
    vector = people.vectors[query] if isinstance(query, int) else query
    if vector.shape != people.vectors.shape[1:]:
        raise Refusal(409, "The query was embedded by another model than the galleries.")
    if own is not None:
        hidden[own] = True
        camera = people.columns["camid"][own]
        if question.other_cameras and camera > 0:
            hidden |= people.columns["camid"] == camera
    distances, places = searcher.nearest(vector, min(question.k, MOST_FOUND), hidden)
    if question.max_distance is not None:
        near = distances <= question.max_distance
        distances, places = distances[near], places[near]
    apart = people.at_once(own, places) if own is not None else np.zeros(len(places), bool)
    return [
        Found(rank, place, distance, verdict(rule, distance, bool(other)))
        for rank, (place, distance, other) in enumerate(zip(places.tolist(), distances.tolist(), apart, strict=True), 1)
    ]


def verdict(rule: Decision | None, distance: float, at_once: bool) -> str:
    """Return the word for a tracklet at a distance from the query, as `Found.verdict` has it."""
    if at_once:
        return "same time"
    if rule is None:
        return ""
    return {True: "within", None: "perhaps", False: "beyond"}[rule.verdict(distance)]
