"""Boxes of frame after frame become tracks: two rounds of matching by overlap, and appearance after an occlusion.

The rounds are ByteTrack's (Zhang et al., 2022): certain boxes are matched with all tracks first, uncertain ones with the
tracks that are left. A track begins once its person was found in several frames. Before it gets an id of its own, it is
compared by appearance with the tracks that were lost shortly before, and may go on with the id of one of them.
"""

import bisect
import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment

from vreid_jax.datasets.video.box_linking import iou
from vreid_jax.datasets.video.track_file import LONG_ABSENCE
from vreid_jax.errors import InputError
from vreid_jax.tracking import motion

Appearance = Callable[[np.ndarray], np.ndarray]
"""From boxes `[N, 4]` of the current frame to unit vectors `[N, D]`."""


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """How boxes become tracks.

    Attributes:
      certain: score from which a box takes part in the first round.
      uncertain: score from which a box takes part at all, in the second.
      confirm: boxes after which a track begins.
      overlap: least intersection over union of a box with where its track should be, in the first round.
      overlap_uncertain: likewise in the second round.
      lost_seconds: how long a track that has no box is looked for where it should be.
      remember_seconds: how long it is looked for by appearance.
      appearance: largest cosine distance at which a new track is a lost one.
      margin: by how much any other lost track must be farther.
      fill_seconds: gaps up to this long are filled with boxes between their ends.
    """

    certain: float = 0.5
    uncertain: float = 0.1
    confirm: int = 3
    overlap: float = 0.2
    overlap_uncertain: float = 0.5
    lost_seconds: float = 1.5
    remember_seconds: float = LONG_ABSENCE
    appearance: float = 0.2
    margin: float = 0.05
    fill_seconds: float = 0.5

    def __post_init__(self):
        """Raise `InputError` if a field is out of its range."""
        if not 0 <= self.uncertain <= self.certain <= 1:
            raise InputError(f"scores must be in order, 0 <= {self.uncertain=} <= {self.certain=} <= 1")
        if self.confirm < 1:
            raise InputError(f"{self.confirm=} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Row:
    """A box of a track in a frame (from 1)."""

    frame: int
    track: int
    box: tuple[float, float, float, float]
    score: float


@dataclasses.dataclass
class Track:
    """A person who is followed; `number` is 0 until the track is confirmed."""

    number: int
    mean: np.ndarray  # [6]
    covariance: np.ndarray  # [6, 6]
    last: int  # frame of its last box
    rows: list[Row]  # those that are not reported yet; at least the last one
    boxes: int = 1
    vector: np.ndarray | None = None  # sum of the unit vectors of its boxes
    looked: int = 0  # frame of the last of them


class Tracker:
    """The tracks of one video, frame by frame; a pure function of what `update` is given."""

    def __init__(self, fps: float, settings: TrackSettings | None = None):
        """Begin without tracks; `fps` gives the settings' seconds a meaning."""
        self.fps, self.settings = fps, settings or TrackSettings()
        self.tracks: list[Track] = []
        self.waiting: list[Row] = []  # sure, but others of earlier frames may come
        self.missed: set[int] = set()  # frames that nobody looked at, as far as a gap may be filled there
        self.started = 0

    def update(
        self,
        frame: int,
        boxes: np.ndarray,
        scores: np.ndarray,
        appearance: Appearance | None = None,
        missed: int = 0,
    ) -> list[Row]:
        """Take the boxes of the next frame; return what is now known for certain, in frames up to this one.

        Args:
          frame: its number, from 1; each is one more than the last, and `missed` more.
          boxes: `[N, 4]` left, top, width, height, pixels.
          scores: `[N]` in [0, 1].
          appearance: gives vectors of boxes in this frame; None follows by overlap alone.
          missed: number of frames right before this one that nobody looked at: tracks go on over them, and have no boxes there.
        """
        s = self.settings
        if missed <= s.fill_seconds * self.fps:
            self.missed.update(range(frame - missed, frame))
        searched = [t for t in self.tracks if frame - t.last <= s.lost_seconds * self.fps + 1]
        self._predict(searched, 1 + missed)
        known = [t for t in searched if t.number]
        seen_just_now = [t for t in known if t.last == frame - 1 - missed]
        new = [t for t in searched if not t.number]
        certain, uncertain = (
            np.flatnonzero(scores >= s.certain),
            np.flatnonzero((scores >= s.uncertain) & (scores < s.certain)),
        )
        matched: list[tuple[Track, int]] = []
        for tracks, found, least in (
            (known, certain, s.overlap),
            (seen_just_now, uncertain, s.overlap_uncertain),
            (new, certain, s.overlap),
        ):
            taken = {id(t) for t, _ in matched}, {b for _, b in matched}
            tracks = [t for t in tracks if id(t) not in taken[0]]
            rest = np.array([b for b in found.tolist() if b not in taken[1]], int)
            matched += [(tracks[t], int(rest[b])) for t, b in _pairs(tracks, boxes[rest], least)]
        self._correct(matched, boxes, scores, frame)
        got = {b for _, b in matched}
        begun = [b for b in certain.tolist() if b not in got]
        self.tracks = [t for t in self.tracks if t.number or t.last == frame]  # what is not confirmed may miss no frame
        fresh = self._begin(begun, boxes, scores, frame)
        if appearance:
            self._look(frame, boxes, [*matched, *zip(fresh, begun, strict=True)], appearance)
        for track in [t for t in self.tracks if not t.number and t.boxes >= s.confirm]:
            self._confirm(track)
        return self._report(frame)

    def finish(self) -> list[Row]:
        """Return what is left to report at the end of the video."""
        rows = [row for track in self.tracks if track.number for row in _drained(track, keep=0)]
        return sorted([*self.waiting, *rows], key=_order)

    def _predict(self, tracks: list[Track], frames: int) -> None:
        if not tracks:
            return
        means, covariances = np.stack([t.mean for t in tracks]), np.stack([t.covariance for t in tracks])
        for _ in range(frames):
            means, covariances = motion.predict(means, covariances, self.fps)
        for track, mean, covariance in zip(tracks, means, covariances, strict=True):
            track.mean, track.covariance = mean, covariance

    def _correct(self, matched: list[tuple[Track, int]], boxes: np.ndarray, scores: np.ndarray, frame: int) -> None:
        if not matched:
            return
        means, covariances = np.stack([t.mean for t, _ in matched]), np.stack([t.covariance for t, _ in matched])
        found = boxes[[b for _, b in matched]]
        for (track, b), mean, covariance in zip(matched, *motion.correct(means, covariances, found), strict=True):
            track.mean, track.covariance = mean, covariance
            row = Row(frame, track.number, _plain(boxes[b]), float(scores[b]))
            track.rows += [*self._between(track.rows[-1], row), row]
            track.last, track.boxes = frame, track.boxes + 1

    def _between(self, before: Row, after: Row) -> list[Row]:
        """Return the boxes that a short gap lacks."""
        gap = after.frame - before.frame
        if gap - 1 > self.settings.fill_seconds * self.fps:
            return []
        a, b = np.array(before.box), np.array(after.box)
        score = min(before.score, after.score)
        return [
            Row(before.frame + i, after.track, _plain(a + (b - a) * i / gap), score)
            for i in range(1, gap)
            if before.frame + i not in self.missed
        ]

    def _begin(self, which: list[int], boxes: np.ndarray, scores: np.ndarray, frame: int) -> list[Track]:
        if not which:
            return []
        means, covariances = motion.begin(boxes[which], self.fps)
        fresh = [
            Track(0, mean, covariance, frame, [Row(frame, 0, _plain(boxes[b]), float(scores[b]))])
            for b, mean, covariance in zip(which, means, covariances, strict=True)
        ]
        self.tracks += fresh
        return fresh

    def _look(self, frame: int, boxes: np.ndarray, found: list[tuple[Track, int]], appearance: Appearance) -> None:
        """Add to the vectors of new tracks, and now and then of the others where nobody is in the way."""
        alone = iou(boxes, boxes).sum(1) < 1.3
        due = [(t, b) for t, b in found if not t.number or (alone[b] and frame - t.looked >= 0.5 * self.fps)]
        if due:
            for (track, _), vector in zip(due, appearance(boxes[[b for _, b in due]]), strict=True):
                track.vector = vector.astype(np.float64) + (0 if track.vector is None else track.vector)
                track.looked = frame

    def _confirm(self, track: Track) -> None:
        """Give a new track the id of a lost one that looks like it, or else its own."""
        lost = self._take_up(track)
        if lost is None:
            self.started += 1
            track.number = self.started
        else:
            self.tracks.remove(lost)
            track.number, track.vector = lost.number, _sum(track.vector, lost.vector)
            track.rows = [*lost.rows, *self._between(lost.rows[-1], track.rows[0]), *track.rows]
        track.rows = [dataclasses.replace(row, track=track.number) for row in track.rows]

    def _take_up(self, track: Track) -> Track | None:
        first, s = track.rows[0], self.settings
        if track.vector is None:
            return None
        candidates = []
        for lost in self.tracks:
            gap = (first.frame - lost.last) / self.fps
            if not lost.number or lost.vector is None or not 0 < gap <= s.remember_seconds:
                continue
            then, now = np.array(lost.rows[-1].box), np.array(first.box)
            tall = max(then[3], now[3])
            away = float(np.hypot(*(then[:2] + then[2:] / 2 - now[:2] - now[2:] / 2))) / tall
            if away <= 0.7 + 1.5 * gap and min(then[3], now[3]) >= 0.55 * tall:
                candidates.append((1 - _cosine(track.vector, lost.vector), len(candidates), lost))
        candidates.sort(key=lambda each: each[:2])
        if not candidates or candidates[0][0] > s.appearance:
            return None
        if len(candidates) > 1 and candidates[1][0] - candidates[0][0] < s.margin:
            return None
        return candidates[0][2]

    def _report(self, frame: int) -> list[Row]:
        """Return the rows that nothing can change or precede any more; forget tracks that were lost too long ago."""
        longest = max(self.settings.lost_seconds, self.settings.remember_seconds) * self.fps + self.settings.confirm
        for track in self.tracks:
            if track.number:  # the last row stays: a gap behind it may be filled, and a lost track is looked for there
                self.waiting += _drained(track, keep=0 if frame - track.last > longest else 1)
        self.tracks = [t for t in self.tracks if frame - t.last <= longest]
        self.missed = {each for each in self.missed if frame - each <= longest}
        self.waiting.sort(key=_order)
        due = bisect.bisect_left(self.waiting, frame - longest - 1, key=lambda row: row.frame)
        rows, self.waiting = self.waiting[:due], self.waiting[due:]
        return rows


def _order(row: Row) -> tuple[int, int]:
    return row.frame, row.track


def _drained(track: Track, keep: int) -> list[Row]:
    split = len(track.rows) - keep
    rows, track.rows = track.rows[:split], track.rows[split:]
    return rows


def _pairs(tracks: list[Track], boxes: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Match tracks and boxes one to one so that the sum of overlaps is largest; none below `least`."""
    if not tracks or not len(boxes):
        return []
    overlap = iou(motion.as_boxes(np.stack([t.mean for t in tracks])), boxes)
    overlap[overlap < least] = 0
    return [
        (t, b)
        for t, b in zip(*map(np.ndarray.tolist, linear_sum_assignment(overlap, maximize=True)), strict=True)
        if overlap[t, b]
    ]


def _plain(box: np.ndarray) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, box)
    return left, top, width, height


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _sum(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else a + b
