"""Exact search in a stream of files equals that of one gallery, filters are what they say, processes share the files."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vreid_jax.archives import approximate, batches, database
from vreid_jax.archives.question import Filters, Queries, of_files, of_part
from vreid_jax.archives.streaming import find
from vreid_jax.errors import InputError
from vreid_jax.retrieval import streamed
from vreid_jax.runtime.mesh import make_mesh
from vreid_jax.search import find as find_in_memory
from vreid_jax.search import open_gallery, ranked
from vreid_jax.search.gallery_files import open_files

ROOT = Path(__file__).parents[2]
NOON = 1_772_366_400.0  # 2026-03-01T12:00:00+00:00


def moment(day, hour):
    return NOON + 86_400.0 * (day - 1) + 3600.0 * (hour - 12)


def strangers(vectors):
    count = len(vectors)
    return Queries(vectors, [""] * count, [""] * count, [None] * count, np.full((count, 2), np.nan))


def names(found):
    return [[match.row["tracklet_id"] for match in matches] for matches in found]


@pytest.mark.parametrize("devices", [1, 4])
def test_a_stream_gives_what_the_joined_gallery_gives(made_folder, monkeypatch, devices):
    monkeypatch.setattr(streamed, "MOST_ROWS", 4)
    monkeypatch.setattr(batches, "ROWS", 2)
    folder = made_folder()
    whole, files = open_gallery(folder), open_files(folder)
    expected = find_in_memory(
        whole,
        whole.vectors,
        5,
        leave_out=ranked.left_out(whole, whole.columns["tracklet_id"].tolist(), None),
        apart=ranked.at_once(
            whole, np.stack([whole.columns["start_seconds"], whole.columns["end_seconds"]], 1), whole.columns["input"]
        ),
    )
    queries = of_files(files, stated=True)
    queries = Queries(queries.vectors, queries.names, queries.inputs, queries.recorded_at, queries.times)
    found = find(files, queries, 5, mesh=make_mesh(jax.devices()[:devices]) if devices > 1 else None)
    assert names(found) == names(expected)
    for some, others in zip(found, expected, strict=True):
        np.testing.assert_allclose([m.distance for m in some], [m.distance for m in others], rtol=1e-5)


def test_other_cameras_are_asked_of_the_files_too(made_folder):
    files = open_files(made_folder())
    for matches, camera in zip(find(files, of_files(files, stated=True), 12), [1] * 6 + [2] * 6, strict=True):
        assert {match.row["camid"] for match in matches} == {3 - camera}
        assert len(matches) == 6


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters((2,)), 6),
        (Filters((1, 2)), 12),
        (Filters((7,)), 0),
        (Filters((), moment(2, 0), None), 6),
        (Filters((), None, moment(1, 8.5)), 3),
        (Filters((1,), moment(1, 8) + 12, moment(1, 8) + 13), 1),  # the second was there from second 10 to 15
        (Filters((1,), moment(1, 8) + 15, moment(1, 8) + 20), 2),
    ],
)
def test_filters_leave_what_they_say(made_folder, filters, count):
    files = open_files(made_folder())
    (matches,) = find(files, strangers(np.zeros((1, 4), np.float32)), 20, filters=filters)
    assert len(matches) == count


def test_files_of_other_cameras_are_not_opened(made_folder):
    folder = made_folder()
    files = open_files(folder)
    for file in (folder / "camera=1").rglob("*.parquet"):
        file.unlink()
    (matches,) = find(files, strangers(np.zeros((1, 4), np.float32)), 20, filters=Filters((2,)))
    assert len(matches) == 6


def test_folders_above_the_gallery_promise_nothing(tmp_path, write_made_gallery):
    folder = tmp_path / "camera=7" / "town"
    write_made_gallery(folder / "camera=1" / "a.parquet")
    (matches,) = find(open_files(folder), strangers(np.zeros((1, 4), np.float32)), 20, filters=Filters((1,)))
    assert len(matches) == 3


def test_a_tracklet_that_two_files_hold_is_refused_where_it_is_found(tmp_path, write_made_gallery, vreid):
    write_made_gallery(tmp_path / "town" / "a.parquet")
    write_made_gallery(tmp_path / "town" / "b.parquet")
    query = write_made_gallery(tmp_path / "person.parquet", camera=9, rows=1)
    code, _, error = vreid("search", tmp_path / "town", f"--query={query}")
    assert (code, "a.parquet and " in error, "both hold the tracklet track" in error) == (2, True, True)


def test_a_vector_without_a_value_is_one_sentence(tmp_path, write_made_gallery):
    vectors = np.zeros((3, 4), np.float32)
    vectors[1, 2] = np.nan
    write_made_gallery(tmp_path / "a.parquet", vectors=vectors)
    write_made_gallery(tmp_path / "b.parquet", day=2)
    with pytest.raises(
        InputError, match=r"a\.parquet has a vector that is not of finite numbers: embed its input again"
    ):
        find(open_files(tmp_path), strangers(np.zeros((1, 4), np.float32)))


def test_a_file_that_is_replaced_or_removed_meanwhile_is_one_sentence(tmp_path, write_made_gallery):
    file = write_made_gallery(tmp_path / "a.parquet")
    write_made_gallery(tmp_path / "b.parquet", day=2)
    files = open_files(tmp_path)
    for changes in ({"fingerprint": "another"}, {"dimensions": 5}):
        write_made_gallery(file, **changes)
        with pytest.raises(InputError, match=r"a\.parquet was replaced while the gallery was read: give the same"):
            find(files, strangers(np.zeros((1, 4), np.float32)))
    file.unlink()
    with pytest.raises(InputError, match=r"a\.parquet was removed while the gallery was read: give the same"):
        find(files, strangers(np.zeros((1, 4), np.float32)))


def test_a_time_leaves_out_what_has_none(tmp_path, write_made_gallery):
    write_made_gallery(tmp_path / "a.parquet", recorded_at=None)
    write_made_gallery(tmp_path / "b.parquet", day=2)
    (matches,) = find(
        open_files(tmp_path), strangers(np.zeros((1, 4), np.float32)), 20, filters=Filters((), moment(1, 0), None)
    )
    assert len(matches) == 3


def test_a_damaged_file_is_one_sentence(made_folder):
    folder = made_folder()
    files = open_files(folder)
    file = folder / "camera=1" / "date=2026-03-01" / "a.parquet"
    content = bytearray(file.read_bytes())
    place = bytes(content).index(open_gallery(file).vectors[:1].tobytes()[:12])
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is damaged: embed its input again"):
        find(files, strangers(np.zeros((1, 4), np.float32)))


def test_the_command_filters_and_names_what_it_lacks(made_folder, vreid, write_made_gallery, tmp_path):
    folder = made_folder()
    query = write_made_gallery(tmp_path / "person.parquet", camera=9, rows=1)
    code, out, error = vreid(
        "search", folder, f"--query={query}", "--camera=2", "--from=2026-03-02T00:00:00+00:00", "--k=20", "--json"
    )
    assert code == 0, error
    (answer,) = json.loads(out)["queries"]
    assert {(match["camid"], match["recorded_at"][:10]) for match in answer["matches"]} == {(2, "2026-03-02")}
    assert len(answer["matches"]) == 3
    code, _, error = vreid("search", folder, f"--query={query}", "--from=2026-03-02", "--to=2026-03-01T00:00Z")
    assert (code, "--from=2026-03-02 has no zone" in error) == (2, True)
    for flag, words in (("--from=", "--from= is not a moment"), ("--camera=-1", "--camera=-1 is not the number")):
        code, _, error = vreid("search", folder, f"--query={query}", flag)
        assert (code, words in error) == (2, True)
    bare = write_made_gallery(tmp_path / "bare.parquet", recorded_at=None)
    code, _, error = vreid("search", bare, f"--query={query}", "--to=2026-03-02T00:00Z")
    assert (code, "does not say when it was recorded" in error) == (2, True)


@pytest.mark.slow
def test_two_processes_share_the_files_and_both_know_the_answer(made_folder):
    folder = made_folder()
    name = open_gallery(folder).columns["tracklet_id"][0]
    command = [sys.executable, "-m", "vreid_jax.cli.command", "search", str(folder), f"--query={name}", "--json"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    alone = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    runs = []
    for number in range(2):
        one = {"VREID_COORDINATOR": f"127.0.0.1:{port}", "VREID_NUM_PROCESSES": "2", "VREID_PROCESS_ID": str(number)}
        runs.append(
            subprocess.Popen(
                command, env={**environment, **one}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    for run in runs:
        printed, said = run.communicate(timeout=300)
        assert run.returncode == 0, said
        assert json.loads(printed[printed.index("{") :])["queries"] == json.loads(alone)["queries"]


@pytest.mark.parametrize(
    ("gallery", "query", "same"),
    [
        ({"tracks": "aa"}, {"tracks": "bb"}, False),
        ({"tracks": "aa", "folder": "/a.frames"}, {"tracks": "aa", "folder": "/b.frames"}, True),
        ({"folder": "/a.frames"}, {"folder": "/b.frames"}, False),
        ({"folder": "/a.frames"}, {"folder": "/a.frames", "tracks": "aa"}, True),
        ({}, {}, True),
    ],
)
@pytest.mark.parametrize("in_database", [False, True])
def test_only_of_the_same_tracks_are_a_query_itself_and_who_was_there_with_it(
    write_made_gallery, tmp_path, gallery, query, same, in_database
):
    write_made_gallery(tmp_path / "a.parquet", **gallery)
    files = open_files(tmp_path / "a.parquet")
    asked = of_files(open_files(write_made_gallery(tmp_path / "b.parquet", rows=1, **query)), stated=True)
    asked = dataclasses.replace(asked, cameras=None)
    if in_database:
        pytest.importorskip("lance")
        database.push(files, tmp_path / "town.lance")
        (matches,) = approximate.find(database.open_database(tmp_path / "town.lance"), asked, 3)
    else:
        (matches,) = find(files, asked, 3)
    assert len(matches) == 3 - same
    overlapping = dataclasses.replace(asked, times=np.array([[12.0, 13.0]]))  # when only the second was there
    assert [overlapping.seen_at_once(0, row) for row in rows_of(files)] == [False, same, False]


def rows_of(files):
    return [row for batch in batches.batches_of(files, Filters()) for row in batch.to_pylist()]


def test_a_query_of_the_archive_itself_needs_no_tracks(write_made_gallery, tmp_path):
    write_made_gallery(tmp_path / "a.parquet", folder="/north-0001")
    write_made_gallery(tmp_path / "b.parquet", folder="/north-0002", names=["track3", "track4", "track5"])
    files = open_files(tmp_path)
    queries = of_part(*files.find(files.parts[0].key("track1")), stated=True, own=True)
    assert sum(queries.seen_at_once(0, row) for row in rows_of(files)) == 2  # itself, and one of the other part
