"""`evaluate` against `rank` on the distances of `pairwise_distance`: the same ranking, on one device or several."""

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.runtime.mesh import make_mesh


def problem(generator, queries=None, gallery=None):
    """Arguments of `evaluate`, with many ties, distractors, junk, and queries that nobody matches."""
    queries = int(generator.integers(1, 9)) if queries is None else queries
    gallery = int(generator.integers(1, 30)) if gallery is None else gallery
    features = (generator.integers(0, 3, (n, 2)).astype(np.float32) for n in (queries, gallery))
    pids = (generator.integers(-1, 4, n) for n in (queries, gallery))
    camids = (generator.integers(1, 4, n) for n in (queries, gallery))
    return *features, *pids, *camids


def assert_same(found, expected):
    for field in dataclasses.fields(retrieval.Ranking):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("max_bytes", [200, 600, 2**20])  # computed twice, in few and in many blocks, and kept
def test_it_is_the_ranking_of_the_distances(metric, max_bytes):
    generator = np.random.default_rng(max_bytes)
    for _ in range(6):
        query, gallery, *labels = problem(generator, 5, 23)
        distances = retrieval.pairwise_distance(query, gallery, metric, max_bytes=max_bytes)
        found = retrieval.evaluate(query, gallery, *labels, metric=metric, max_bytes=max_bytes)
        assert_same(found, retrieval.rank(distances, *labels))


@pytest.mark.parametrize("max_bytes", [300, 2**20], ids=["computed twice", "kept"])
def test_four_devices_find_what_one_finds(max_bytes):
    assert len(jax.devices()) == 4
    for seed in range(3):
        arguments = problem(np.random.default_rng(seed), 5, 23)  # whole numbers: the same distances in shards
        found = retrieval.evaluate(*arguments, mesh=make_mesh(), max_bytes=max_bytes)
        assert_same(found, retrieval.evaluate(*arguments, max_bytes=max_bytes))


@pytest.mark.parametrize(("queries", "gallery"), [(1, 1), (1, 7), (7, 1)])
def test_one_query_or_one_gallery_row(queries, gallery):
    for seed in range(4):
        query, rows, *labels = problem(np.random.default_rng(seed), queries, gallery)
        assert_same(
            retrieval.evaluate(query, rows, *labels),
            retrieval.rank(retrieval.pairwise_distance(query, rows), *labels),
        )


def test_a_hand_worked_ranking():
    # Distances 1, 1, 2, 3, 3 of the first query; row 1 is junk, row 3 is its own camera: ranks 0 and 2 of rows 0 and 4.
    gallery = np.array([[1.0], [-1.0], [2.0], [3.0], [-3.0]])
    ranking = retrieval.evaluate(
        np.zeros((2, 1)),
        gallery,
        np.array([7, 5]),
        np.array([7, -1, 0, 7, 7]),
        np.array([1, 1]),
        np.array([2, 2, 2, 1, 3]),
    )
    np.testing.assert_array_equal(ranking.match_gallery, [0, 4])
    np.testing.assert_array_equal(ranking.match_rank, [0, 2])
    np.testing.assert_allclose(ranking.average_precision, [(1 + 2 / 3) / 2, np.nan])
    np.testing.assert_allclose(ranking.average_precision_trapezoid, [(1 + (2 / 3 + 1 / 2) / 2) / 2, np.nan])
    np.testing.assert_array_equal(ranking.valid, [True, False])
    assert ranking.num_gallery == 4
    assert ranking.rank(1) == 1.0


def test_jax_arrays_do_and_bad_ones_are_refused():
    query, gallery, *labels = problem(np.random.default_rng(0), 3, 6)
    assert_same(
        retrieval.evaluate(jax.numpy.asarray(query), jax.numpy.asarray(gallery), *labels),
        retrieval.evaluate(query, gallery, *labels),
    )
    for arguments, options, message in (
        ((query[:, :1], gallery, *labels), {}, "query_features has 1 dimensions"),
        ((query, gallery * np.nan, *labels), {}, "gallery_features has NaN"),
        ((query, gallery, labels[0][:2], *labels[1:]), {}, "query_pids must have one entry"),
        ((query, gallery, *labels), {"metric": "manhattan"}, "metric must be one of"),
        ((query, gallery, *labels), {"max_rank": 0}, "max_rank must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            retrieval.evaluate(*arguments, **options)


TWO_PROCESSES = """
import sys
import jax
import numpy as np
from vreid_jax import retrieval
from vreid_jax.runtime import processes
from vreid_jax.runtime.mesh import make_mesh

processes.join_from_environment()
assert jax.process_count() == 2 and len(jax.devices()) == 4
with np.load(sys.argv[1]) as file:
    arguments = [file[f"arr_{number}"] for number in range(6)]
found = retrieval.evaluate(*arguments, mesh=make_mesh(), max_bytes=300)
np.savez(sys.argv[2], match_rank=found.match_rank, match_gallery=found.match_gallery)
"""


def test_two_processes_find_what_one_finds(tmp_path):
    arguments = problem(np.random.default_rng(3), 5, 23)
    np.savez(tmp_path / "arguments.npz", *arguments)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for number in range(2):
        environment = {
            "VREID_COORDINATOR": address,
            "VREID_NUM_PROCESSES": "2",
            "VREID_PROCESS_ID": str(number),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-c", TWO_PROCESSES, tmp_path / "arguments.npz", tmp_path / f"{number}.npz"]
        processes.append(subprocess.Popen(command, env={**os.environ, **environment}))
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    expected = retrieval.evaluate(*arguments)
    for number in range(2):
        with np.load(tmp_path / f"{number}.npz") as found:
            np.testing.assert_array_equal(found["match_rank"], expected.match_rank)
            np.testing.assert_array_equal(found["match_gallery"], expected.match_gallery)
