"""The optical flow of a dataset: computed once, by all cores, by whoever needs it first."""

import contextlib
import functools
import shutil
import time
from pathlib import Path

import filelock
from tqdm import tqdm

from vreid_jax import data
from vreid_jax.data.flow_building import build_part, expected_bytes, flow_folder, missing_parts
from vreid_jax.data.flow_files import FlowFiles, FlowPart
from vreid_jax.data.flow_reuse import KnownFlow
from vreid_jax.datasets.processes import cores, in_order
from vreid_jax.errors import InputError
from vreid_jax.experiment.setup import Setup
from vreid_jax.files import remove_unfinished


def give_flow(setup: Setup) -> None:
    """Give the splits of a run their optical flow, if its network reads any.

    Raises:
      InputError: as `store_flow`.
    """
    if setup.reads_flow:
        for source in (setup.train_source, setup.test.query, setup.test.gallery):
            store_flow(source, setup.settings.data.flow, setup.settings.logging.progress)


def store_flow(source: data.TrackletSource, method: str, progress: bool = False, processes: int | None = None) -> None:
    """Give a split its stored optical flow; what of it is not there yet is computed first.

    It lies in `flow/` of the dataset's folder, in files of about 2,048 fields that are written one by one: after an
    interruption, the next call goes on behind the last one. A second process waits for the first. Where records are no
    longer those that the flow is of, it is made anew and the old flow removed. The flow of a tracklet that another split,
    or another division of the data, has of the same frames is copied.

    Args:
      source: the split; its `flow` is set.
      method: one of `config.inputs.FLOW_METHODS`.
      progress: whether to show a bar.
      processes: that compute; None is one for each core that this process may use.

    Raises:
      InputError: for a frame that cannot be read, and where the disk is full or may not be written to.
    """
    folder = flow_folder(source, method)
    if missing_parts(source, folder):
        with _locked(folder):
            if parts := missing_parts(source, folder):  # another process may have computed it meanwhile
                _build(source, folder, method, parts, progress, processes)
    source.flow = FlowFiles(folder, source.num_frames)


@contextlib.contextmanager
def _locked(folder: Path):
    """Hold the lock of a split's flow, which vanishes with the process that holds it, however that ends."""
    lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot write optical flow to {folder}: {reason}; give another data_dir, with a copy of the dataset"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _build(
    source: data.TrackletSource,
    folder: Path,
    method: str,
    parts: list[FlowPart],
    progress: bool,
    processes: int | None,
) -> None:
    """Compute the missing parts of a split's flow."""
    remove_unfinished(folder)
    _check_room(source, folder, method, parts)
    frames = [int(source.num_frames[part.start : part.stop].sum()) for part in parts]
    build = functools.partial(build_part, source, folder, method, KnownFlow.beside(source))
    with tqdm(
        total=sum(frames), desc=f"optical flow of {source.split}", unit="frame", disable=not progress, leave=False
    ) as bar:
        for count, wrong in zip(frames, in_order(build, parts, min(len(parts), processes or cores())), strict=True):
            if wrong:
                raise InputError(wrong)
            bar.update(count)
    _remove_others(folder, f"{source.split}-{method}-")  # what of it is still true has been copied


def _remove_others(folder: Path, prefix: str) -> None:
    """Remove the flow that the split had for other records."""
    for other in folder.parent.glob(f"{prefix}*"):
        if other != folder and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)


def _check_room(source: data.TrackletSource, folder: Path, method: str, parts: list[FlowPart]) -> None:
    """Raise `InputError` where the disk has less room than the flow will about take."""
    needed, free = expected_bytes(source, method, parts), shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder.parent} has {free / 1e9:.2f} GB of free space, and the optical flow of {source.split} takes about "
            f"{needed / 1e9:.2f} GB: make room there, or give another data_dir, with a copy of the dataset"
        )


def flow_summary(source: data.TrackletSource, started: float) -> dict:
    """Return fields, bytes and seconds since `started` of the flow that a split has been given."""
    assert source.flow is not None
    return {
        "tracklets": len(source),
        "frames": int(source.num_frames.sum()),
        "fields": source.flow.num_fields,
        "bytes": source.flow.num_bytes,
        "seconds": time.perf_counter() - started,
        "path": str(source.flow.folder),
    }
