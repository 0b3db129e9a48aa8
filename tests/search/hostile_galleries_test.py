"""Gallery files that are damaged, of other types, or not files: one sentence, whichever reader looks at them."""

import json
import os
import re

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.search import open_gallery
from vreid_jax.search.gallery import KEY, make_table, pyarrow, read_about, read_rows, read_vectors

pytest.importorskip("pyarrow")

ABOUT = {"model": "toy", "fingerprint": "f", "metric": "cosine", "open_set": None, "input": "people", "dataset": None}
OPEN_SET = {"protocol": "mars", "false_accept_rate": [0.1], "threshold": [0.5], "true_accept_rate": [0.9]}


def table(about=ABOUT, vectors=None, **changed):
    columns = {
        "tracklet_id": ["a", "b"], "pid": [1, 2], "camid": [1, 1], "split": ["", ""], "num_frames": [3, 3],
        "first_frame": [1, 5], "last_frame": [3, 7], "start_seconds": [0.0, None], "end_seconds": [0.5, None],
        "folder": ["", ""], "model": ["f", "f"],
    }  # fmt: skip
    vectors = np.ones((2, 4), np.float32) if vectors is None else vectors
    return make_table(vectors, {**columns, **changed}, about)


def written(path, content):
    pyarrow().parquet.write_table(content, path)
    return path


def with_column(name, values):
    whole = table()
    return whole.set_column(whole.column_names.index(name), name, values)


def with_metadata(value):
    return table().replace_schema_metadata({KEY: value})


def about(**changed):
    return table({**ABOUT, **changed})


def test_what_the_library_writes_is_read(tmp_path):
    gallery = open_gallery(written(tmp_path / "g.parquet", about(open_set=OPEN_SET)))
    assert gallery.about["open_set"] == OPEN_SET
    assert gallery.columns["start_seconds"].tolist()[0] == 0.0
    assert np.isnan(gallery.columns["start_seconds"][1])


def test_a_gallery_notes_when_it_was_recorded_and_how_long_it_may_be_kept(tmp_path):
    noted = {"recorded_at": "2026-03-02T09:00:00+00:00", "retention_days": 30}
    read = read_about(written(tmp_path / "g.parquet", about(**noted)))
    assert {name: read[name] for name in noted} == noted
    for name, value in (
        ("recorded_at", "yesterday"),
        ("recorded_at", 5),
        ("retention_days", 0),
        ("retention_days", 1.5),
    ):
        with pytest.raises(InputError, match=f"states {name}="):
            read_about(written(tmp_path / "g.parquet", about(**{name: value})))


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b'"text"', b"5", b"{}", b"\xff", b"[" * 100_000])
def test_metadata_of_another_kind_are_not_a_gallery_s(tmp_path, value):
    with pytest.raises(InputError, match="was not written by this library"):
        read_about(written(tmp_path / "g.parquet", with_metadata(value)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fingerprint", None),
        ("fingerprint", 5),
        ("model", []),
        ("input", {}),
        ("input", None),
        ("metric", "manhattan"),
        ("metric", ["cosine"]),
        ("dataset", 3),
        ("measured_on", ["x"]),
        ("open_set", []),
        ("open_set", "x"),
        ("open_set", {"protocol": "mars"}),
        ("open_set", {**OPEN_SET, "threshold": [0.5, 0.6]}),
        ("open_set", {**OPEN_SET, "threshold": 0.5}),
        ("open_set", {**OPEN_SET, "threshold": ["near"]}),
        ("open_set", {**OPEN_SET, "false_accept_rate": [None]}),
        ("open_set", {**OPEN_SET, "false_accept_rate": [float("nan")]}),
        ("open_set", {**OPEN_SET, "metric": 1}),
        ("open_set", {**OPEN_SET, "protocol": None}),
    ],
)
def test_metadata_that_state_something_else_are_named(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"g.parquet states {name}=.*embed its input again"):
        read_about(written(tmp_path / "g.parquet", about(**{name: value})))


def test_metadata_that_lack_a_name_are_named(tmp_path):
    lacking = {"format": "vreid_jax-gallery-1", **ABOUT}
    del lacking["metric"]
    with pytest.raises(InputError, match="states metric='None', which is not one of euclidean"):
        read_about(written(tmp_path / "g.parquet", with_metadata(json.dumps(lacking))))


def hostile_tables():
    pa = pyarrow()
    floats = pa.array([1.0, 2.0])
    return [
        (with_column("tracklet_id", pa.array([1, 2])), "column tracklet_id of type int64, not string"),
        (with_column("camid", floats), "column camid of type double, not int64"),
        (with_column("start_seconds", pa.array(["a", "b"])), "column start_seconds of type string, not double"),
        (with_column("vector", floats), "column vector of type double, not fixed_size_list"),
        (with_column("vector", pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32()))), "column vector of type list"),
        (with_column("vector", pa.array([[1.0], [2.0]], pa.list_(pa.float64(), 1))), "column vector of type fixed"),
        (with_column("vector", pa.array([[1.0], None], pa.list_(pa.float32(), 1))), "tracklet without a vector"),
        (with_column("vector", pa.array([[1.0], [None]], pa.list_(pa.float32(), 1))), "tracklet without a vector"),
        (table(vectors=np.full((2, 4), np.nan, np.float32)), "vector that is not of finite numbers"),
        (table(vectors=np.full((2, 4), np.inf, np.float32)), "vector that is not of finite numbers"),
        (table(camid=[1, None]), "tracklet without camid"),
        (table(tracklet_id=["a", None]), "tracklet without tracklet_id"),
        (table(first_frame=[9, 1]), "impossible numbers of its frames"),
        (table(first_frame=[-(2**60), 1]), "impossible numbers of its frames"),
        (table().append_column("camid", pa.array([1, 2])), "several columns camid"),
        (table().drop_columns(["folder"]), "no column folder"),
    ]


@pytest.mark.parametrize("number", range(16))
def test_columns_of_other_types_are_named(tmp_path, number):
    content, words = hostile_tables()[number]
    path = written(tmp_path / "g.parquet", content)
    for read in (open_gallery, lambda file: read_rows(file, np.arange(2))):
        with pytest.raises(InputError, match=rf"g.parquet has .*{words}.*embed its input again"):
            read(path)
    if "vector" in words:
        with pytest.raises(InputError, match=words):
            list(read_vectors(path))


def test_text_that_is_not_utf8_is_damage(tmp_path):
    pa = pyarrow()
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    with pytest.raises(InputError, match="is damaged: embed its input again"):
        open_gallery(written(tmp_path / "g.parquet", with_column("split", text)))


def test_a_name_of_a_column_that_is_not_utf8_is_damage(tmp_path):
    path = written(tmp_path / "g.parquet", about(open_set=OPEN_SET))
    content = path.read_bytes()
    refused = 0
    for found in re.finditer(b"split", content):  # some are in places that nobody reads
        path.write_bytes(content[: found.start()] + b"\xfe" + content[found.start() + 1 :])
        try:
            open_gallery(path)
        except InputError as error:
            refused += "g.parquet is not a gallery" in str(error)
    assert refused


def test_a_flipped_bit_anywhere_is_one_sentence_or_changes_nothing(tmp_path):
    path = tmp_path / "g.parquet"
    pyarrow().parquet.write_table(about(open_set=OPEN_SET), path, write_page_checksum=True)
    content, whole = path.read_bytes(), open_gallery(path)
    for at in range(4, len(content), 61):
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        try:
            read = open_gallery(path)
        except InputError:
            continue
        assert {name: values.tolist() for name, values in read.columns.items()}.keys() == whole.columns.keys()
        np.testing.assert_array_equal(read.vectors, whole.vectors)


def test_what_is_not_a_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not a regular file but a pipe or a device"):
        open_gallery(tmp_path / "pipe.parquet")
    with pytest.raises(InputError, match="is a folder without galleries"):
        open_gallery(tmp_path / "empty")
    with pytest.raises(InputError, match="names a user who does not exist"):
        open_gallery("~nobody-of-this-name/g.parquet")
    with pytest.raises(InputError, match="cannot be used: File name too long"):
        open_gallery(tmp_path / ("x" * 300))
