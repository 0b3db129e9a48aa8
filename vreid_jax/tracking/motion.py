"""Where boxes will be: a Kalman filter for many tracks at once, whose centres have a constant velocity.

As in SORT (Bewley et al., 2016) and ByteTrack (Zhang et al., 2022), uncertainties are shares of a box's height; unlike
there, sizes have no velocity, since the width of who walks swings with every step.
"""

import numpy as np

_PLACE, _SPEED = 1 / 20, 1 / 160  # standard deviations of a frame, in heights, at 30 frames a second
_SHIFT = np.eye(6)
_SHIFT[:2, 4:] = np.eye(2)


def as_state(boxes: np.ndarray) -> np.ndarray:
    """Return boxes `[N, 4]` (left, top, width, height) as `[N, 4]` (centre x, centre y, width, height)."""
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)


def as_boxes(means: np.ndarray) -> np.ndarray:
    """Return the boxes `[N, 4]` (left, top, width, height) of means `[N, 6]`."""
    size = np.maximum(means[:, 2:4], 1.0)
    return np.concatenate([means[:, :2] - size / 2, size], 1)


def begin(boxes: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return means `[N, 6]` and covariances `[N, 6, 6]` of tracks that begin at boxes `[N, 4]`."""
    means = np.concatenate([as_state(boxes), np.zeros((len(boxes), 2))], 1)
    height = boxes[:, 3:4]
    spread = np.concatenate([np.repeat(2 * _PLACE * height, 4, 1), np.repeat(10 * _speed(fps) * height, 2, 1)], 1)
    return means, _diagonal(spread)


def predict(means: np.ndarray, covariances: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return means and covariances one frame later."""
    height = np.maximum(means[:, 3:4], 1.0)
    noise = np.concatenate([np.repeat(_PLACE * height, 4, 1), np.repeat(_speed(fps) * height, 2, 1)], 1)
    return means @ _SHIFT.T, _SHIFT @ covariances @ _SHIFT.T + _diagonal(noise)


def correct(means: np.ndarray, covariances: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and covariances after boxes `[N, 4]` were found."""
    noise = _diagonal(np.repeat(_PLACE * np.maximum(means[:, 3:4], 1.0), 4, 1))
    gain = np.linalg.solve(covariances[:, :4, :4] + noise, covariances[:, :4, :]).transpose(0, 2, 1)  # [N, 6, 4]
    surprise = as_state(boxes) - means[:, :4]
    means = means + (gain @ surprise[..., None])[..., 0]
    return means, covariances - gain @ covariances[:, :4, :]


def _speed(fps: float) -> float:
    return _SPEED * 30.0 / fps  # what changes within a frame grows with its length


def _diagonal(spread: np.ndarray) -> np.ndarray:
    """Return the matrices `[N, 6, 6]` or `[N, 4, 4]` with the squares of `spread` on their diagonals."""
    return np.eye(spread.shape[1]) * (spread**2)[:, None, :]
