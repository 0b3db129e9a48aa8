"""Approximate search beyond what memory holds: a FAISS index beside the gallery, its candidates ranked exactly."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from pathlib import Path

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.search.gallery import Gallery, read_about, read_rows, read_vectors
from vreid_jax.search.ranked import Match, at_once, left_out
from vreid_jax.search.ranked import find as find_exactly

SMALL = 20_000  # tracklets that are indexed as they are
SAMPLE = 200_000  # vectors that cells and codes are learned from
CANDIDATES = 20  # times `k`, and at least 200: read back and ranked exactly

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
    """`ranked.find` in the gallery file `path` without reading all of it: the nearest by codes, then exact distances.

    The index is `PATH.faiss`, built on first use and again where it is not of this very gallery. `names` and `cameras`
    as for `ranked.left_out`, `times` as for `ranked.at_once`. Raises `InputError` without FAISS, and what `ranked.find`
    refuses.
    """
    faiss = _faiss()
    index = _index(faiss, Path(path).expanduser())
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
    """The index of a gallery: the one beside it where that bears the gallery's stamp, else a new one, which is kept."""
    metric = read_about(path)["metric"]  # first of all, whether it is a gallery
    file, stamp = path.with_name(f"{path.name}.faiss"), _stamp(path)
    try:
        with file.open("rb") as opened:
            opened.seek(-len(stamp), os.SEEK_END)
            if opened.read() == stamp:
                return faiss.read_index(os.fspath(file))
    except (OSError, RuntimeError):
        pass  # none, or none that FAISS reads
    index = _build(faiss, path, metric)
    try:
        with atomic_file(file) as half:
            faiss.write_index(index, os.fspath(half))
            with half.open("ab") as opened:  # FAISS reads no further than its index
                opened.write(stamp)
    except (InputError, RuntimeError):
        log.warning("%s cannot be written: the next search builds the index again", file)
    return index


def _stamp(path: Path) -> bytes:
    """32 bytes: the digest of a Parquet file's length and of its footer, which ends in the footer's length and PAR1.

    The footer holds the gallery's metadata, its number of rows, and place, size and extremes of every column.
    """
    with path.open("rb") as file:
        size = file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - length)
        return hashlib.sha256(b"%d " % size + file.read()).digest()


def _build(faiss, path: Path, metric: str):
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
    """FAISS's name of the index: exact for few vectors; else 4·√N cells, and codes of a byte for 8 dimensions or so."""
    if count <= SMALL:
        return "Flat"
    pieces = next(pieces for pieces in (64, 32, 16, 8, 4, 2, 1) if dimensions % pieces == 0 and pieces <= dimensions)
    return f"IVF{4 * math.isqrt(count)},PQ{pieces}x8"


def _prepared(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Euclidean neighbours of unit vectors are cosine neighbours."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if metric != "cosine":
        return vectors
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise InputError("--approximate needs FAISS: python3 -m pip install 'vreid_jax[search]'") from error
    return faiss
