"""Approximate search in galleries too large for memory: a FAISS index finds candidates, exact distances rank them."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from pathlib import Path

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, given_path, open_regular
from vreid_jax.search.gallery import Gallery, read_about, read_rows, read_vectors
from vreid_jax.search.ranked import Match, at_once, left_out
from vreid_jax.search.ranked import find as find_exactly

SMALL = 20_000  # up to so many tracklets the index is exact
SAMPLE = 200_000  # vectors to learn cells and codes from
CANDIDATES = 20  # times `k`, and at least 200 in all: the vectors that are ranked exactly

log = logging.getLogger(__name__)


def find(
    path: str | Path,
    vectors: np.ndarray,
    k: int,
    false_accept_rate: float | int,
    names: list[str],
    cameras: np.ndarray | None,
    times: np.ndarray,
) -> list[list[Match]]:
    """Find the nearest tracklets of a gallery file, as `ranked.find` does, without reading the whole file.

    The index is `PATH.faiss`. It is built on first use, and again when the gallery has changed.

    Args:
      path: the gallery file.
      vectors: `[Q, D]` vectors of the queries.
      k: how many tracklets to find for each.
      false_accept_rate: rate of the threshold that decides, in (0, 1].
      names: Q `tracklet_id`s, as for `ranked.left_out`.
      cameras: `[Q]` cameras, as for `ranked.left_out`.
      times: `[Q, 2]` seconds, as for `ranked.at_once`.

    Returns:
      The matches of each query, nearest first.

    Raises:
      InputError: when FAISS is not installed, and as `ranked.find` does.
    """
    faiss = _faiss()
    index = _index(faiss, given_path(path))
    if vectors.shape[1] != index.d:
        raise InputError(f"the query has {vectors.shape[1]} dimensions and {path} has {index.d}")
    metric = read_about(path)["metric"]
    _, rows = index.search(_prepared(vectors, metric), min(index.ntotal, max(CANDIDATES * k, 200)))
    found = []
    for query in range(len(vectors)):
        some: Gallery = read_rows(path, np.unique(rows[query][rows[query] >= 0]))
        hidden = left_out(some, names[query : query + 1], None if cameras is None else cameras[query : query + 1])
        found += find_exactly(
            some,
            vectors[query : query + 1],
            k,
            false_accept_rate=false_accept_rate,
            leave_out=hidden,
            apart=at_once(some, times[query : query + 1]),
        )
    return found


def _index(faiss, path: Path):
    """Return the index beside a gallery if it is whole and of it, else build it and keep it there."""
    metric = read_about(path)["metric"]  # fails first if this is not a gallery
    file, stamp = path.with_name(f"{path.name}.faiss"), _stamp(path)
    try:
        if _is_whole(file, stamp):
            return faiss.read_index(os.fspath(file))
    except (InputError, OSError, RuntimeError):
        pass  # there is none, or FAISS cannot read it
    index = _build(faiss, path, metric)
    try:
        with atomic_file(file) as half:
            faiss.write_index(index, os.fspath(half))
            with half.open("r+b") as opened:  # FAISS reads only up to the end of its index
                digest = hashlib.file_digest(opened, "sha256").digest()
                opened.seek(0, os.SEEK_END)
                opened.write(digest + stamp)
    except (InputError, RuntimeError):
        log.warning("%s cannot be written: the next search will build the index again", file)
    return index


def _is_whole(file: Path, stamp: bytes) -> bool:
    """Return whether an index bears the stamp and is as it was written: a damaged one finds fewer of the nearest."""
    with open_regular(file) as opened:
        size = opened.seek(-2 * len(stamp), os.SEEK_END)
        if opened.read()[len(stamp) :] != stamp:
            return False
        opened.seek(0)
        digest, left = hashlib.sha256(), size
        while left and (block := opened.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        return opened.read(len(stamp)) == digest.digest()


def _stamp(path: Path) -> bytes:
    """Return 32 bytes that identify a gallery file: a digest of its length and of its Parquet footer.

    The footer ends in its own length and "PAR1"; it holds the gallery's metadata, its number of rows, and the offset,
    size and extremes of every column.
    """
    with path.open("rb") as file:
        size = file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - length)
        return hashlib.sha256(b"%d " % size + file.read()).digest()


def _build(faiss, path: Path, metric: str):
    """Return a new index of a gallery, learned from its first `SAMPLE` vectors."""
    count, sample = 0, []
    for block in read_vectors(path):
        if count < SAMPLE:
            sample.append(block[: SAMPLE - count])
        count += len(block)
    dimensions = sample[0].shape[1]
    index = faiss.index_factory(dimensions, recipe(count, dimensions))
    if not index.is_trained:
        index.train(_prepared(np.concatenate(sample), metric))
    for block in read_vectors(path):
        index.add(_prepared(block, metric))
    if count > SMALL:
        faiss.extract_index_ivf(index).nprobe = 32
    return index


def recipe(count: int, dimensions: int) -> str:
    """Return the FAISS factory string: exact up to `SMALL` vectors, else 4·√N cells and at most 64 one-byte codes."""
    if count <= SMALL:
        return "Flat"
    pieces = next(pieces for pieces in (64, 32, 16, 8, 4, 2, 1) if dimensions % pieces == 0 and pieces <= dimensions)
    return f"IVF{4 * math.isqrt(count)},PQ{pieces}x8"


def _prepared(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return vectors whose Euclidean neighbours are those of `metric`: for cosine, unit vectors."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if metric != "cosine":
        return vectors
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _faiss():
    """Return the `faiss` module, or raise `InputError` with how to install it."""
    try:
        import faiss  # pyright: ignore[reportMissingImports] # of the extra `search`
    except ImportError as error:
        raise InputError("--approximate needs FAISS: python3 -m pip install 'vreid_jax[search]'") from error
    return faiss
