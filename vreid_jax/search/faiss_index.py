"""Approximate search beyond what memory holds: a FAISS index beside the gallery, its candidates ranked exactly."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.search.gallery import Gallery, read_about, read_rows, read_vectors
from vreid_jax.search.ranked import Match, left_out
from vreid_jax.search.ranked import find as find_exactly

SMALL = 20_000  # tracklets that are indexed as they are
SAMPLE = 200_000  # vectors that cells and codes are learned from
CANDIDATES = 20  # times `k`, and at least 200: read back and ranked exactly


def find(
    path: str | Path,
    vectors: np.ndarray,
    k: int,
    false_accept_rate: float | int,
    names: list[str],
    cameras: np.ndarray | None,
) -> list[list[Match]]:
    """`ranked.find` in the gallery file `path` without reading all of it: the nearest by codes, then exact distances.

    The index is `PATH.faiss`, built on first use and again when the gallery is newer. `names` and `cameras` as for
    `ranked.left_out`. Raises `InputError` without FAISS, and what `ranked.find` refuses.
    """
    faiss = _faiss()
    index = _index(faiss, Path(path))
    if vectors.shape[1] != index.d:
        raise InputError(f"the query has {vectors.shape[1]} dimensions and {path} has {index.d}")
    metric = read_about(path)["metric"]
    _, rows = index.search(_prepared(vectors, metric), min(index.ntotal, max(CANDIDATES * k, 200)))
    found = []
    for query in range(len(vectors)):
        some: Gallery = read_rows(path, np.unique(rows[query][rows[query] >= 0]))
        hidden = left_out(some, names[query : query + 1], None if cameras is None else cameras[query : query + 1])
        nearest = find_exactly(
            some, vectors[query : query + 1], k, false_accept_rate=false_accept_rate, leave_out=hidden
        )
        found += nearest
    return found


def _index(faiss, path: Path):
    file = path.with_name(f"{path.name}.faiss")
    if file.is_file() and path.is_file() and file.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return faiss.read_index(os.fspath(file))
    index = _build(faiss, path)
    half = file.with_suffix(".tmp")
    try:
        faiss.write_index(index, os.fspath(half))
        os.replace(half, file)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write the index {file}: {error}") from error
    return index


def _build(faiss, path: Path):
    metric = read_about(path)["metric"]
    count, sample = 0, []
    for block in read_vectors(path):
        if count < SAMPLE:
            sample.append(block[: SAMPLE - count])
        count += len(block)
    if not count:
        raise InputError(f"the gallery {path} is empty: embed something into it first")
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
