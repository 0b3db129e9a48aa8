"""A database takes the same rows once, from several writers at once, and finds what an exact search finds."""

import json
import multiprocessing
import sys

import numpy as np
import pytest

from vreid_jax.archives import approximate, beside, database
from vreid_jax.archives.database import Database, is_database, open_database, push
from vreid_jax.archives.question import Filters, of_files
from vreid_jax.archives.streaming import find as find_exactly
from vreid_jax.errors import InputError
from vreid_jax.search import open_gallery
from vreid_jax.search.gallery import replace_about
from vreid_jax.search.gallery_files import open_files


@pytest.fixture
def lance():
    return pytest.importorskip("lance")


def told(found):
    return [[(match.row["tracklet_id"], round(match.distance, 4)) for match in matches] for matches in found]


def test_without_lance_it_says_what_to_install(made_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(InputError, match="need Lance: python3 -m pip install"):
        push(open_files(made_folder()), tmp_path / "town.lance")


def test_a_database_is_told_by_its_name():
    assert is_database("s3://bucket/town.lance/")
    assert is_database("town.lance")
    assert not is_database("town")
    with pytest.raises(InputError, match=r"the name of a database ends in \.lance"):
        open_database("town")


class Held(Database):
    """A database whose rows are in memory, which needs no Lance."""

    def __init__(self, folder):
        pa = pytest.importorskip("pyarrow")
        files = open_files(folder)
        self.rows = pa.concat_tables([table for _, table in database._tables(files, database._schema(files))])
        super().__init__("town.lance", self)

    schema = property(lambda self: self.rows.schema)

    def describe_indices(self):
        return []

    def config(self):
        return {}

    def batches(self, filters):
        yield from self.rows.to_batches()

    def row(self, key):
        return self.rows.filter(np.array(self.rows.column("key").to_pylist()) == key)

    def count(self, condition):
        assert condition == "camid > 0"
        return sum(camera > 0 for camera in self.rows.column("camid").to_pylist())


def test_a_tracklet_of_it_is_searched_for_in_other_cameras(made_folder, vreid, monkeypatch):
    held = Held(made_folder())
    monkeypatch.setattr(database, "open_database", lambda address: held)
    first = held.rows.slice(0, 1).to_pylist()[0]
    assert first["camid"] == 1
    for flags, cameras in (([], {1, 2}), (["--other-cameras"], {2})):
        code, out, error = vreid("search", "town.lance", f"--query={first['key']}", "--k=20", "--json", *flags)
        assert code == 0, error
        (query,) = json.loads(out)["queries"]
        assert {match["camid"] for match in query["matches"]} == cameras
        assert len(query["matches"]) == (6 if flags else 11)


@pytest.mark.parametrize("flag", ["--other-cameras", "--camera=1"])
def test_where_every_camera_is_unknown_other_cameras_are_refused(
    write_made_gallery, vreid, tmp_path, monkeypatch, flag
):
    held = Held(write_made_gallery(tmp_path / "a.parquet", camera=0))
    monkeypatch.setattr(database, "open_database", lambda address: held)
    code, _, error = vreid("search", "town.lance", "--query=track0", flag)
    assert (code, "every camera of town.lance is unknown: name the camera with --camera" in error) == (2, True)


def test_the_same_rows_are_pushed_once_whatever_file_they_are_in(lance, made_folder, tmp_path):
    folder, address = made_folder(), tmp_path / "town.lance"
    first = push(open_files(folder), address)
    assert (first.inserted, first.changed, first.unchanged, first.rows) == (12, 0, 0, 12)
    before = open_database(address).dataset.to_table().sort_by("key")
    again = push(open_files(folder), address)
    assert (again.inserted, again.changed, again.unchanged, again.rows) == (0, 0, 12, 12)
    alone = push(open_files(folder / "camera=1" / "date=2026-03-01" / "a.parquet"), address)
    assert (alone.inserted, alone.changed, alone.unchanged, alone.rows) == (0, 0, 3, 12)
    assert open_database(address).dataset.to_table().sort_by("key").equals(before)


def test_a_row_that_has_changed_takes_the_place_of_the_old_one(lance, write_made_gallery, tmp_path):
    address = tmp_path / "town.lance"
    push(open_files(write_made_gallery(tmp_path / "a.parquet")), address)
    new = np.arange(12, dtype=np.float32).reshape(3, 4)
    done = push(open_files(write_made_gallery(tmp_path / "b.parquet", vectors=new)), address)
    assert (done.inserted, done.changed, done.rows) == (0, 3, 3)
    rows = open_database(address).dataset.to_table().sort_by("key")
    assert rows.column("vector").to_pylist() == new.tolist()


def test_another_model_or_distance_or_program_is_one_sentence(lance, write_made_gallery, tmp_path):
    address = tmp_path / "town.lance"
    push(open_files(write_made_gallery(tmp_path / "a.parquet")), address)
    for changes, words in (
        ({"fingerprint": "another"}, "vectors of different models cannot be compared"),
        ({"metric": "cosine"}, "the distance of .* is cosine, and of .* euclidean"),
        ({"dimensions": 5}, "the length of a vector of .* is 5, and of .* 4"),
    ):
        with pytest.raises(InputError, match=words):
            push(open_files(write_made_gallery(tmp_path / "b.parquet", **changes)), address)
    lance.write_dataset(open_database(address).dataset.to_table().replace_schema_metadata(None), tmp_path / "x.lance")
    with pytest.raises(InputError, match="was not written by this library"):
        open_database(tmp_path / "x.lance")
    with pytest.raises(InputError, match="there is no database"):
        open_database(tmp_path / "y.lance")


def test_what_cannot_be_pushed_or_read_is_one_sentence(lance, write_made_gallery, tmp_path, vreid):
    address = tmp_path / "town.lance"
    write_made_gallery(tmp_path / "twice" / "a.parquet")
    write_made_gallery(tmp_path / "twice" / "b.parquet")
    with pytest.raises(InputError, match="both hold the tracklet track0"):
        push(open_files(tmp_path / "twice"), address)
    bad = write_made_gallery(tmp_path / "bad.parquet", vectors=np.full((1, 4), np.nan, np.float32))
    with pytest.raises(InputError, match=r"bad\.parquet has a vector that is not of finite numbers"):
        push(open_files(bad), address)
    assert not address.exists()
    query = write_made_gallery(tmp_path / "person.parquet", camera=9, rows=1)
    push(open_files(query), address)
    for file in (address / "data").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    for command in (("search", address, f"--query={query}"), ("forget", address, "--before=2030-01-01")):
        code, _, error = vreid(*command)
        assert (code, "town.lance cannot be read: " in error) == (2, True)


def test_a_push_that_a_damaged_row_has_ended_is_finished_by_the_next(lance, write_made_gallery, tmp_path):
    address, folder = tmp_path / "town.lance", tmp_path / "archive"
    write_made_gallery(folder / "a.parquet")
    write_made_gallery(folder / "b.parquet", camera=2, vectors=np.full((3, 4), np.nan, np.float32))
    with pytest.raises(InputError, match=r"b\.parquet has a vector that is not of finite numbers"):
        push(open_files(folder), address)
    assert len(open_database(address)) == 3
    write_made_gallery(folder / "b.parquet", camera=2)
    done = push(open_files(folder), address)
    assert (done.inserted, done.unchanged, done.rows) == (3, 3, 6)


def test_an_index_is_made_anew_when_vectors_change_and_their_extremes_do_not(
    lance, write_made_gallery, tmp_path, vreid
):
    vectors = np.eye(4, dtype=np.float32)[:3]
    file = write_made_gallery(tmp_path / "a.parquet", vectors=vectors)
    query = write_made_gallery(tmp_path / "person.parquet", camera=9, vectors=vectors[:1])

    def nearest():
        code, out, error = vreid("search", file, f"--query={query}", "--approximate", "--k=1", "--json")
        assert code == 0, error
        return json.loads(out)["queries"][0]["matches"][0]["tracklet_id"]

    assert nearest() == "track0"
    write_made_gallery(file, vectors=vectors[[1, 0, 2]])
    assert nearest() == "track1"


def test_to_forget_in_one_file_removes_the_index_of_its_folder(lance, made_folder, tmp_path, vreid):
    folder = made_folder()
    beside.index_of(open_files(folder))
    other = folder / "camera=1.index"  # of somebody else
    other.mkdir()
    code, _, error = vreid("forget", folder / "camera=1" / "date=2026-03-01" / "a.parquet", "--tracklet=track0")
    assert code == 0, error
    assert other.exists()
    assert not beside.index_path(folder).exists()
    assert len(beside.index_of(open_files(folder))) == 11


@pytest.mark.parametrize("step", ["push", "maintain"])
def test_an_index_whose_update_was_killed_is_made_anew(lance, write_made_gallery, tmp_path, monkeypatch, step):
    folder = tmp_path / "town"
    write_made_gallery(folder / "a.parquet", camera=1)
    beside.index_of(open_files(folder))
    write_made_gallery(folder / "b.parquet", camera=2)
    place = beside if step == "push" else approximate
    whole = getattr(place, step)

    def killed(*arguments, **options):
        whole(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, step, killed)
    with pytest.raises(KeyboardInterrupt):
        beside.index_of(open_files(folder))
    monkeypatch.undo()
    (folder / "b.parquet").unlink()
    write_made_gallery(folder / "c.parquet", camera=3)
    found = beside.index_of(open_files(folder)).table(columns=["camid"])
    assert set(found.column("camid").to_pylist()) == {1, 3}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_small_database_finds_what_the_files_give(lance, made_folder, tmp_path, metric):
    folder, address = made_folder(metric=metric), tmp_path / "town.lance"
    files = open_files(folder)
    push(files, address)
    assert approximate.maintain(open_database(address)) is None
    queries = of_files(files, stated=True)
    for filters in (Filters(), Filters((2,)), Filters((), 1_772_409_600.0, None)):
        found = approximate.find(open_database(address), queries, 4, filters=filters)
        assert told(found) == told(find_exactly(files, queries, 4, filters=filters))


def crowd(tmp_path, write_made_gallery, count=2000, camera=1):
    rng = np.random.default_rng(camera)
    people = np.random.default_rng(0).normal(size=(count // 10, 16))
    vectors = (people[np.arange(count) % len(people)] + 0.2 * rng.normal(size=(count, 16))).astype(np.float32)
    return write_made_gallery(tmp_path / "crowd" / f"{camera}.parquet", camera=camera, vectors=vectors)


@pytest.mark.slow
def test_an_index_finds_nearly_all_and_says_how_many(lance, write_made_gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "SMALL", 100)
    monkeypatch.setattr(approximate, "PROBES", 8)
    files = open_files(crowd(tmp_path, write_made_gallery))
    push(files, tmp_path / "town.lance")
    recall = approximate.maintain(open_database(tmp_path / "town.lance"))
    assert recall is not None
    assert 0.7 < recall.share <= 1.0
    assert (recall.queries, recall.rows) == (50, 2000)
    assert approximate.stated(open_database(tmp_path / "town.lance")) == recall
    queries = of_files(files, stated=True).part(slice(0, 20))
    queries = type(queries)(queries.vectors, queries.names, queries.inputs, queries.recorded_at, queries.times)
    database = open_database(tmp_path / "town.lance")
    exact = approximate.find(database, queries, 5, exact=True)
    assert told(exact) == told(find_exactly(open_files(tmp_path / "crowd"), queries, 5))
    found = approximate.find(database, queries, 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(told(found), told(exact), strict=True)]) > 0.7


def segments(rows):
    return {segment.uuid for each in open_database(rows).dataset.describe_indices() for segment in each.segments}


@pytest.mark.slow
def test_the_index_beside_a_gallery_is_added_to_and_made_anew_only_where_it_must(
    lance, write_made_gallery, tmp_path, monkeypatch, vreid
):
    monkeypatch.setattr(approximate, "SMALL", 100)
    crowd(tmp_path, write_made_gallery, 1000)
    folder = tmp_path / "crowd"
    query = f"--query={open_gallery(folder).columns['tracklet_id'][3]}"

    def nearest():
        code, out, error = vreid("search", folder, query, "--approximate", "--k=3", "--json")
        assert code == 0, error
        return json.loads(out)

    assert nearest()["recall"]["rows"] == 1000
    rows = beside.index_path(folder) / "vectors.lance"
    first = segments(rows)
    crowd(tmp_path, write_made_gallery, 1000, camera=2)
    answer = nearest()
    assert answer["recall"]["rows"] == 2000
    assert {match["camid"] for match in answer["queries"][0]["matches"]} == {1, 2}
    versions = open_database(rows).dataset.version
    assert nearest() == answer
    assert open_database(rows).dataset.version == versions
    replace_about(folder / "2.parquet", retention_days=3)
    assert nearest()["queries"] == answer["queries"]
    assert first.isdisjoint(segments(rows))


def write_some(address, folder, number):
    for day in (1, 2):
        push(open_files(f"{folder}/camera={number}/date=2026-03-0{day}"), address)
    push(open_files(folder), address)


@pytest.mark.slow
def test_two_processes_push_at_once_and_no_row_is_doubled_or_lost(lance, made_folder, tmp_path):
    folder, address = made_folder(), tmp_path / "town.lance"
    start = multiprocessing.get_context("spawn").Process
    writers = [start(target=write_some, args=(str(address), str(folder), number)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
        assert writer.exitcode == 0
    keys = open_database(address).dataset.to_table(columns=["key"]).column("key").to_pylist()
    assert sorted(keys) == sorted(open_gallery(folder).columns["tracklet_id"].tolist())


def test_push_and_search_as_commands(lance, made_folder, write_made_gallery, tmp_path, vreid):
    folder, address = made_folder(), tmp_path / "town.lance"
    code, out, error = vreid("push", folder, address, "--quiet")
    assert code == 0, error
    assert f"{address}: 12 tracklets added, 0 changed, 0 as they were; 12 in all" in out
    name = open_gallery(folder).columns["tracklet_id"][0]
    by_files, by_database = (
        json.loads(vreid("search", place, f"--query={name}", "--json")[1])["queries"] for place in (folder, address)
    )
    assert [match["tracklet_id"] for match in by_database[0]["matches"]] == [
        match["tracklet_id"] for match in by_files[0]["matches"]
    ]
    code, _, error = vreid("search", address, "--query=nobody")
    assert (code, "nobody is not a tracklet of" in error) == (2, True)


def test_a_database_without_moments_says_so_instead_of_finding_nobody(lance, write_made_gallery, tmp_path, vreid):
    gallery = write_made_gallery(tmp_path / "bare.parquet", recorded_at=None)
    assert vreid("push", gallery, tmp_path / "town.lance", "--quiet")[0] == 0
    code, _, error = vreid("search", tmp_path / "town.lance", f"--query={gallery}", "--from=2026-03-02T00:00Z")
    assert (code, "town.lance does not say when it was recorded, so --from and --to find nothing" in error) == (2, True)


@pytest.mark.slow
def test_a_large_file_is_merged_in_pieces(lance, write_made_gallery, tmp_path):
    rows = 40_000
    file = write_made_gallery(tmp_path / "a.parquet", rows=rows, dimensions=768, group=10_000)
    done = push(open_files(file), tmp_path / "town.lance")
    assert (done.inserted, done.rows) == (rows, rows)
    again = push(open_files(file), tmp_path / "town.lance")
    assert (again.inserted, again.changed, again.unchanged) == (0, 0, rows)
