"""Embed tracklets into a gallery file, chunk by chunk, so that an interrupted run resumes where it stopped."""

import contextlib
import dataclasses
import glob
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vreid_jax import data
from vreid_jax.config import DATASETS, dataset_name
from vreid_jax.errors import InputError
from vreid_jax.files import UNFINISHED, atomic_file, given_path, only_process, read_regular
from vreid_jax.inference import Model
from vreid_jax.json_files import json_or_none
from vreid_jax.search.gallery import make_table, metadata, open_gallery, pyarrow, read_about
from vreid_jax.search.sources import Source

CHUNK = 256  # tracklets per part file
JOB, LOCK = "job.json", ".lock"  # in the folder of the parts
STAMP = "made_from"  # in the metadata of a part
_PART = re.compile(r"\d{6}\.parquet")

log = logging.getLogger(__name__)


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
    model: Model,
    source: Source,
    out: str | Path,
    *,
    recorded_at: str | None = None,
    retention_days: int | None = None,
    chunk: int = CHUNK,
    progress: bool = False,
) -> Embedded:
    """Write the vectors of `source` to a gallery file, which appears once it is complete.

    Finished chunks are kept in `OUT.parts/`, and repeating the call resumes after them; a chunk whose tracklets have
    changed since is embedded again. Several processes share each chunk; only the first one writes and knows which chunks
    are done.

    Args:
      model: model to embed with.
      source: tracklets to embed.
      out: file to write, `.parquet`.
      recorded_at: the moment of a video's first frame, ISO 8601 with a zone (`recording.moment_text`).
      retention_days: how long the gallery may be kept.
      chunk: tracklets per part.
      progress: whether to show a bar.

    Returns:
      Counts of what was done.

    Raises:
      InputError: when `out` exists, cannot be written or is being written, or its parts belong to another model, input or
        chunk size.
      RuntimeError: when the model gives vectors that are not finite.
    """
    out = check_out(out)
    if not len(source.tracklets):
        raise InputError(f"{source.name} has no tracklets to embed")
    about = about_gallery(model, source, recorded_at, retention_days)
    parts = _parts_of(out)
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            job = {"fingerprint": model.fingerprint, "input": source.name, "chunk": chunk}
            stack.enter_context(only_writer(out, parts, job))
        done = _embed_parts(model, source, chunk, parts, about, progress)
        if jax.process_index() == 0:
            _join(out, parts, -(-done.tracklets // chunk), about)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("gallery written")
    return done


def about_gallery(
    model: Model, source: Source, recorded_at: str | None = None, retention_days: int | None = None
) -> dict[str, Any]:
    """Return the metadata of the gallery of a source, `Gallery.about`; arguments as for `embed_gallery`."""
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "metric": model.metric,
        "open_set": model.about.get("open_set") if _is_own_footage(model, source) else None,
        "measured_on": _measured_on(model) if model.about.get("open_set") else None,
        "dataset": model.about.get("dataset"),
        "input": source.name,
        "tracks": source.tracks or None,
        "recorded_at": recorded_at,
        "retention_days": retention_days,
    }


def embed_rows(model: Model, source: Source, rows: np.ndarray, about: dict, progress: bool = False):
    """Return the vectors of some tracklets of a source, and what is known of each, as the Arrow table of a gallery.

    Args:
      model: model to embed with.
      source: the tracklets.
      rows: which of them, `[n]` numbers.
      about: what becomes the metadata.
      progress: whether to show a bar.

    Raises:
      RuntimeError: when the model gives vectors that are not finite.
    """
    vectors = embed_finite(model, data.JoinedSource([source.tracklets], rows), progress)
    return make_table(vectors, _columns(source, rows, model), about)


def _embed_parts(model: Model, source: Source, chunk: int, parts: Path, about: dict, progress: bool) -> Embedded:
    """Write every chunk that is not in `parts` yet."""
    count = len(source.tracklets)
    rows = chunks(count, chunk)
    stamps = [_stamp(_columns(source, some, model), source.contents[some]) for some in rows]
    dimensions = [_dimensions(_part(parts, number), stamp) for number, stamp in enumerate(stamps)]
    dimensions = _broadcast_from_first(np.array(dimensions, np.int32))
    changed = sum(not size and _part(parts, number).exists() for number, size in enumerate(dimensions))
    if changed and jax.process_index() == 0:
        log.warning("%d parts in %s are embedded again: what they were made from has changed", changed, parts)
    resumed, size = 0, 0
    for number, (some, known) in enumerate(zip(rows, dimensions.tolist(), strict=True)):
        size = known or size
        if known:
            resumed += len(some)
            continue
        table = embed_rows(model, source, some, {**about, STAMP: stamps[number]}, progress)
        size = table.schema.field("vector").type.list_size
        if jax.process_index() == 0:
            with atomic_file(_part(parts, number)) as half:
                pyarrow().parquet.write_table(table, half, write_page_checksum=True)
    return Embedded(count, resumed, size)


def chunks(count: int, size: int = CHUNK) -> list[np.ndarray]:
    """Return the numbers of `count` tracklets in blocks of `size`, each embedded at once; the last may be shorter."""
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def embed_finite(model: Model, tracklets: data.Tracklets, progress: bool = False) -> np.ndarray:
    """Return the vectors of tracklets `[N, D]`.

    Raises:
      RuntimeError: when one is not finite.
    """
    vectors = model.embed_tracklets(tracklets, progress=progress)
    if not np.isfinite(vectors).all():
        name = tracklets.tracklet_ids[~np.isfinite(vectors).all(1)][0]
        raise RuntimeError(f"the model gives a vector of {name} that is not of finite numbers: its weights are broken")
    return vectors


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:06d}.parquet"


def _dimensions(part: Path, stamp: str) -> int:
    """Return the length of a part's vectors, or 0 where there is no whole part with this stamp."""
    try:
        gallery = open_gallery(part)
    except InputError:
        return 0
    return gallery.vectors.shape[1] if gallery.about.get(STAMP) == stamp else 0


def _join(out: Path, parts: Path, count: int, about: dict) -> None:
    """Write the parts as one file."""
    parquet = pyarrow().parquet
    check_out(out)  # nothing may have come there meanwhile
    schema = parquet.read_schema(_part(parts, 0)).with_metadata(metadata(about))
    with atomic_file(out) as half, parquet.ParquetWriter(half, schema, write_page_checksum=True) as writer:
        for number in range(count):
            table = parquet.read_table(_part(parts, number), page_checksum_verification=True)
            writer.write_table(table.replace_schema_metadata(schema.metadata))


def check_out(out: str | Path) -> Path:
    """Return the path of a gallery that is to be written; `InputError` when it cannot be."""
    pyarrow()
    out = given_path(out)
    if out.suffix != ".parquet":
        raise InputError(f"the name of the gallery, {out}, must end in .parquet")
    if out.exists():
        _tidy_up(out)
        raise InputError(f"{out} exists already: name another file, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of {out} does not exist")
    try:
        given_path(out.with_name(f".{out.name}.{'x' * 32}"))  # what is written on the way has longer names
    except InputError as error:
        raise InputError(f"the name of the gallery, {out.name}, is too long") from error
    return out


def _tidy_up(out: Path) -> None:
    """Remove the parts that a process has left which was killed when `out`, their gallery, was complete."""
    parts = _parts_of(out)
    if not parts.is_dir():
        return
    names = [entry.name for entry in parts.iterdir()]
    ours = all(name in (JOB, LOCK) or name.endswith(UNFINISHED) or _PART.fullmatch(name) for name in names)
    with contextlib.suppress(InputError), only_process(parts / LOCK, "the process that wrote it removes them itself"):
        about, job = read_about(out), _read_job(parts / JOB)
        same = job is None or all(about.get(name) == job.get(name) for name in ("fingerprint", "input"))
        if ours and same:  # without a job the parts are of no use
            shutil.rmtree(parts, ignore_errors=True)


def _parts_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


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


def _stamp(columns: dict, contents: np.ndarray) -> str:
    """Return a digest that changes with what is stored of some tracklets and with the contents of their frames."""
    return hashlib.sha256(json.dumps([columns, contents.tolist()]).encode()).hexdigest()


def _broadcast_from_first(values: np.ndarray) -> np.ndarray:
    """Return the first process's `values` in every process."""
    return values if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(values))


@contextlib.contextmanager
def only_writer(out: Path, parts: Path, job: dict) -> Iterator[None]:
    """Make the folder of the parts, or take over what a call for the same gallery left in it, for this process alone.

    The folder is removed when the block ends; where it fails, only if it holds no part.

    Raises:
      InputError: when another process writes there, or the parts are of another job.
    """
    try:
        parts.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {parts}: {error.strerror}; name another file") from error
    with only_process(parts / LOCK, f"another process writes {out}: wait for it, or name another file"):
        try:
            check_out(out)  # the other process may just have finished
            _claim(parts, job)
            yield
        except BaseException:
            if not any(parts.glob("*.parquet")):
                shutil.rmtree(parts, ignore_errors=True)
            raise
        shutil.rmtree(parts)
        real = Path(os.path.realpath(out))
        for left in real.parent.glob(f".{glob.escape(real.name)}.*{UNFINISHED}"):  # by a process that was killed
            left.unlink(missing_ok=True)


def _claim(parts: Path, job: dict) -> None:
    """Check that the parts in a folder belong to this job, and say in it what the job is."""
    known = _read_job(parts / JOB)
    if isinstance(known, dict) and isinstance(known.get("input"), str):
        whole = os.path.realpath(os.path.expanduser(known["input"]))  # an earlier version noted a path as it was typed
        known = {**known, "input": job["input"] if job["input"] == whole else known["input"]}
    if any(parts.glob("*.parquet")) and known != job:
        raise InputError(
            f"{parts} holds the first parts of another gallery (another model, input or chunk size): "
            "remove it, or name another file"
        )
    with atomic_file(parts / JOB) as half:
        half.write_text(json.dumps(job))


def _read_job(file: Path) -> Any:
    try:
        return json_or_none(read_regular(file))
    except InputError:
        return None
