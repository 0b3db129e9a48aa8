"""Embed tracklets into a gallery file, chunk by chunk, so that an interrupted run resumes where it stopped."""

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from vreid_jax import data
from vreid_jax.config import DATASETS, dataset_name
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.inference import Model
from vreid_jax.search.gallery import make_table, pyarrow
from vreid_jax.search.sources import Source

CHUNK = 256  # tracklets per part file


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What `embed_gallery` did.

    Attributes:
      tracklets: how many are in the file.
      resumed: how many of them an earlier, interrupted call had embedded.
      dimensions: of a vector.
    """

    tracklets: int
    resumed: int
    dimensions: int


def embed_gallery(
    model: Model, source: Source, out: str | Path, *, chunk: int = CHUNK, progress: bool = False
) -> Embedded:
    """Write the vectors of `source` to a gallery file, which appears once it is complete.

    Finished chunks are kept in `OUT.parts/`, and repeating the call resumes after them. Several processes share each
    chunk; only the first one writes and knows which chunks are done.

    Args:
      model: model to embed with.
      source: tracklets to embed.
      out: file to write, `.parquet`.
      chunk: tracklets per part.
      progress: whether to show a bar.

    Returns:
      Counts of what was done.

    Raises:
      InputError: when `out` exists or cannot be written, or its parts belong to another model, input or chunk size.
    """
    pa = pyarrow()
    out = Path(out)
    check_out(out)
    about = {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "metric": model.metric,
        "open_set": model.about.get("open_set") if _is_own_footage(model, source) else None,
        "measured_on": _measured_on(model) if model.about.get("open_set") else None,
        "dataset": model.about.get("dataset"),
        "input": source.name,
    }
    parts = out.with_name(f"{out.name}.parts")
    writes = jax.process_index() == 0
    if writes:
        _claim(parts, {"fingerprint": model.fingerprint, "tracklets": _identity(source), "chunk": chunk})
    count = len(source.tracklets)
    starts = range(0, count, chunk)
    files = [parts / f"{number:06d}.parquet" for number in range(len(starts))]
    done = _broadcast_from_first(np.array([file.exists() for file in files]))
    resumed, dimensions = 0, 0
    for start, file, ready in zip(starts, files, done, strict=True):
        rows = np.arange(start, min(start + chunk, count))
        if ready:
            resumed += len(rows)
            continue
        vectors = model.embed_tracklets(data.JoinedSource([source.tracklets], rows), progress=progress)
        dimensions = vectors.shape[1]
        if writes:
            with atomic_file(file) as half:
                pa.parquet.write_table(make_table(vectors, _columns(source, rows, model), about), half)
    if writes:
        schema = pa.parquet.read_schema(files[0])
        dimensions = schema.field("vector").type.list_size
        with atomic_file(out) as half, pa.parquet.ParquetWriter(half, schema, write_page_checksum=True) as writer:
            for file in files:
                writer.write_table(pa.parquet.read_table(file))
        shutil.rmtree(parts)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("gallery written")
    return Embedded(count, resumed, dimensions)


def check_out(out: Path) -> None:
    """Raise `InputError` when a gallery cannot be written to `out`."""
    pyarrow()
    if out.suffix != ".parquet":
        raise InputError(f"the name of the gallery, {out}, must end in .parquet")
    if out.exists():
        raise InputError(f"{out} exists already: name another file, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist")


def _measured_on(model: Model) -> str:
    """Return on what the model was evaluated: the name of a dataset, or the path of the dataset `folder`."""
    config = model.config
    return config.data.path if config.dataset == "folder" else dataset_name(config)


def _is_own_footage(model: Model, source: Source) -> bool:
    """Return whether a source is, or lies in, what the model was evaluated on, so that its thresholds hold."""
    if model.config.dataset == "folder":
        return Path(source.name).expanduser().resolve().is_relative_to(Path(_measured_on(model)).expanduser().resolve())
    of_pictures = bool(source.folders.any())
    return not of_pictures and DATASETS.get(source.name, source.name) == _measured_on(model)


def _columns(source: Source, rows: np.ndarray, model: Model) -> dict:
    """Return every column of a gallery but the vectors, of some rows of a source."""
    tracklets = source.tracklets
    start, end = ([None if math.isnan(time) else time for time in times] for times in source.times[rows].T.tolist())
    return {
        "tracklet_id": tracklets.tracklet_ids[rows].tolist(),
        "pid": tracklets.pids[rows].tolist(),
        "camid": tracklets.camids[rows].tolist(),
        "split": source.splits[rows].tolist(),
        "num_frames": tracklets.num_frames[rows].tolist(),
        "first_frame": source.first_frames[rows].tolist(),
        "last_frame": source.last_frames[rows].tolist(),
        "start_seconds": start,
        "end_seconds": end,
        "folder": source.folders[rows].tolist(),
        "model": [model.fingerprint] * len(rows),
    }


def _identity(source: Source) -> str:
    """Return a digest that changes with the tracklets and their lengths."""
    digest = hashlib.sha256(source.name.encode())
    for name, length in zip(source.tracklets.tracklet_ids.tolist(), source.tracklets.num_frames.tolist(), strict=True):
        digest.update(f"{name}\0{length}\0".encode())
    return digest.hexdigest()


def _broadcast_from_first(done: np.ndarray) -> np.ndarray:
    """Return the first process's `done` in every process."""
    return (
        done
        if jax.process_count() == 1
        else np.asarray(multihost_utils.broadcast_one_to_all(done.astype(np.int32))) > 0
    )


def _claim(parts: Path, job: dict) -> None:
    """Make the folder of the parts, or check that the parts in an existing one belong to this job."""
    file = parts / "job.json"
    try:
        if json.loads(file.read_text()) == job:
            return
    except (OSError, ValueError):
        pass  # the folder is new, or belongs to another job
    if any(parts.glob("*.parquet")):
        raise InputError(
            f"{parts} holds the first parts of another gallery (another model, input or chunk size): "
            "remove it, or name another file"
        )
    try:
        parts.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {parts}: {error.strerror}; name another file") from error
    with atomic_file(file) as half:
        half.write_text(json.dumps(job))
