"""Which frames of a tracklet form a clip, in training and at test."""

import numpy as np
from jaxtyping import Int

from vreid_jax.errors import InputError

TRAIN_KINDS = ("consecutive", "strided", "random", "evenly", "spread")
SINGLE_KINDS = ("single_consecutive", "single_random", "single_evenly", "single_all")
SHORT = ("stride", "wrap")
TEST_KINDS = ("all", "sliding", "evenly", *SINGLE_KINDS)


def sample_clip(
    kind: str,
    num_frames: int,
    length: int,
    stride: int,
    rng: np.random.Generator,
    num_clips: int = 1,
    short: str = "stride",
) -> Int[np.ndarray, " MT"]:
    """Draw the frame numbers of training clips, each always in temporal order; short tracklets wrap around.

    Args:
      kind: `consecutive`: `length` adjacent frames from a random start; `strided`: every `stride`-th of
        `length * stride` adjacent frames from a random start; `random`: `length` frames at random, in order;
        `evenly`: one frame at random from each of `length` equal parts of the tracklet; `spread`: the clips of
        `evenly` in `split_clips`, without randomness.
      num_frames: frames in the tracklet, at least 1.
      length: frames in the clip, `T`.
      stride: distance between neighbouring frames, for `strided`.
      rng: the only source of randomness.
      num_clips: number of clips, `M`, concatenated.
      short: what `strided` does with a tracklet of fewer than `length * stride` frames. "stride" (**choice**): it takes
        every `max(1, num_frames // length)`-th frame from any start and wraps around, so that such a tracklet has as
        many clips as frames; "wrap": it keeps the stride and starts at frame 0, so that the tracklet has one clip.

    Returns:
      `[M T]` frame numbers in `[0, num_frames)`.

    Raises:
      InputError: for an unknown kind or `short`, or a length, stride or number of clips below 1.
    """
    if kind not in TRAIN_KINDS:
        raise InputError(f"clip.kind is {kind!r}; training clips are one of {', '.join(TRAIN_KINDS)}")
    if short not in SHORT:
        raise InputError(f"clip.short is {short!r}; it is one of {', '.join(SHORT)}")
    _check_sizes(length, stride, num_clips)
    if kind == "spread":
        return split_clips("evenly", num_frames, length, num_clips, stride).reshape(-1)
    if num_clips > 1:
        return np.concatenate([sample_clip(kind, num_frames, length, stride, rng, 1, short) for _ in range(num_clips)])
    if kind in ("consecutive", "strided"):
        step = stride if kind == "strided" else 1
        if kind == "strided" and short == "stride" and num_frames < length * stride:
            step = max(1, num_frames // length)
            return (rng.integers(num_frames) + step * np.arange(length)) % num_frames
        start = rng.integers(max(num_frames - length * step, 0) + 1)
        return (start + step * np.arange(length)) % num_frames
    if num_frames < length:
        return np.arange(length) % num_frames
    if kind == "random":
        return np.sort(rng.choice(num_frames, length, replace=False))
    edges = np.linspace(0, num_frames, length + 1).astype(int)
    return rng.integers(edges[:-1], edges[1:])


def split_clips(
    kind: str,
    num_frames: int,
    length: int,
    num_clips: int = 0,
    stride: int = 1,
    rng: np.random.Generator | None = None,
) -> Int[np.ndarray, "M T"]:
    """List the clips of a tracklet at test; only two kinds draw at random.

    Args:
      kind: `all`: the `floor(num_frames / (length * stride))` consecutive, non-overlapping clips, at least one
        (a short tracklet repeats its frames); `sliding`: clips of adjacent frames, one every `stride` frames while a
        complete clip remains, at least one; `evenly`: `num_clips` clips whose starts are spread evenly from the
        first frame to the last possible one, overlapping when the tracklet is short. A single clip:
        `single_consecutive`: `length` adjacent frames from a random start; `single_random`: `length` frames at random,
        in order; `single_evenly`: `length` frames spread evenly; `single_all`: all frames, the first ones repeated up to
        the next of 4, 6, 8, 12, 16, 24, …, so that only few lengths occur (**choice**).
      num_frames: frames in the tracklet, at least 1.
      length: frames in a clip, `T`.
      num_clips: `M`, for `evenly`.
      stride: distance between neighbouring frames of a clip. With `all`, the `stride` interleaved clips of a window of
        `length * stride` frames count as consecutive clips, so that every frame of the window is used once.
      rng: the source of randomness of `single_consecutive` and `single_random`; seed 0 by default.

    Returns:
      `[M, T]` frame numbers in `[0, num_frames)`.

    Raises:
      InputError: for an unknown kind, or a length, stride or number of clips below 1.
    """
    if kind not in TEST_KINDS:
        raise InputError(f"clip.kind is {kind!r}; test clips are one of {', '.join(TEST_KINDS)}")
    _check_sizes(length, stride, num_clips if kind == "evenly" else 1)
    if kind == "single_all":
        return np.arange(_next_length(num_frames))[None] % num_frames
    if kind == "single_evenly":
        return np.round(np.linspace(0, num_frames - 1, length)).astype(int)[None]
    if kind in SINGLE_KINDS:
        rng = np.random.default_rng(0) if rng is None else rng
        return sample_clip(kind.removeprefix("single_"), num_frames, length, 1, rng)[None]
    if kind == "sliding":
        starts = stride * np.arange(max((num_frames - length) // stride, 0) + 1)
        return (starts[:, None] + np.arange(length)) % num_frames
    offsets = stride * np.arange(length)
    span = length * stride
    if kind == "evenly":
        starts = np.round(np.linspace(0, max(num_frames - span, 0), num_clips)).astype(int)
    else:
        windows = span * np.arange(max(num_frames // span, 1))
        starts = (windows[:, None] + np.arange(stride)).reshape(-1)
    return (starts[:, None] + offsets) % num_frames


def _check_sizes(length: int, stride: int, num_clips: int) -> None:
    for name, value in (("length", length), ("stride", stride), ("num_clips", num_clips)):
        if value < 1:
            raise InputError(f"clip.{name} is {value}; it must be at least 1")


def _next_length(num_frames: int) -> int:
    """Return the smallest of 4, 6, 8, 12, 16, 24, … that is at least `num_frames`."""
    power = 4
    while 2 * power < num_frames:
        power *= 2
    return next(length for length in (power, 3 * power // 2, 2 * power) if length >= num_frames)
