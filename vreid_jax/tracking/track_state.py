"""A tracker as JSON and back, without loss, so that an interrupted run goes on as if nothing had been."""

import dataclasses
from typing import Any

import numpy as np

from vreid_jax.tracking.association import Row, Track, Tracker


def dump(tracker: Tracker) -> dict[str, Any]:
    """Return the state of a tracker; JSON keeps every bit of a float."""
    return {
        "started": tracker.started,
        "missed": sorted(tracker.missed),
        "waiting": [_row(row) for row in tracker.waiting],
        "tracks": [
            {
                **{name: getattr(track, name) for name in ("number", "last", "boxes", "looked")},
                "mean": track.mean.tolist(),
                "covariance": track.covariance.tolist(),
                "vector": None if track.vector is None else track.vector.tolist(),
                "rows": [_row(row) for row in track.rows],
            }
            for track in tracker.tracks
        ],
    }


def restore(tracker: Tracker, state: dict[str, Any]) -> None:
    """Give a tracker the state that `dump` returned."""
    tracker.started = state["started"]
    tracker.missed = set(state.get("missed", ()))  # a state of before cameras had a clock has none
    tracker.waiting = [_as_row(row) for row in state["waiting"]]
    tracker.tracks = [
        Track(
            number=each["number"],
            mean=np.array(each["mean"]),
            covariance=np.array(each["covariance"]),
            last=each["last"],
            rows=[_as_row(row) for row in each["rows"]],
            boxes=each["boxes"],
            vector=None if each["vector"] is None else np.array(each["vector"]),
            looked=each["looked"],
        )
        for each in state["tracks"]
    ]


def _row(row: Row) -> list:
    return list(dataclasses.astuple(row))


def _as_row(values: list) -> Row:
    frame, track, box, score = values
    left, top, width, height = box
    return Row(frame, track, (left, top, width, height), score)
