"""The progress bar of a build: one bar per split, counting tracklets."""

import contextlib
import contextvars
import sys
from collections.abc import Iterable, Iterator, Sized

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils
from tqdm.auto import tqdm

_shown = contextvars.ContextVar("vreid_jax_progress_shown", default=False)


@contextlib.contextmanager
def shown(wanted: bool) -> Iterator[None]:
    """Show the bars of `tracklets` inside, if wanted, instead of those of TFDS, which do not know the totals."""
    token = _shown.set(wanted)
    before = tqdm_utils._active
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.display_progress_bar(before)
        _shown.reset(token)


def tracklets(items: Iterable, what: str) -> Iterable:
    """Yield `items` behind a bar labelled `what`."""
    total = len(items) if isinstance(items, Sized) else None
    return tqdm(items, desc=what, total=total, unit=" tracklets", disable=not _shown.get(), dynamic_ncols=True)


def rate(what: str, num_tracklets: int, num_frames: int, seconds: float) -> None:
    """Print to stderr how fast a split was built, if bars are shown."""
    if _shown.get():
        tqdm.write(
            f"{what}: {num_tracklets:,} tracklets, {num_frames:,} frames in {seconds:.1f} s "
            f"({num_frames / max(seconds, 1e-9):,.0f} frames/s)",
            file=sys.stderr,
        )
