"""Manifests: what becomes of a row, and the sentence about one that cannot be."""

import datetime

import pyarrow
import pyarrow.parquet
import pytest

from vreid_jax.archives.manifest import Video, read_manifest
from vreid_jax.errors import InputError

START = "2026-03-02T00:30:00+01:00"


def write(folder, text):
    file = folder / "m.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_row_is_a_video_with_whole_paths(tmp_path):
    file = write(
        tmp_path,
        f"\ufeffvideo, camera,start,tracks\na/b.avi,7,{START},../t.txt\n\ns3://bucket/c.mp4,0,0,\n/d.avi,2,1.5,s3://bucket/d.txt\n",
    )
    first, second, third = read_manifest(file)
    assert first == Video(str(tmp_path / "a" / "b.avi"), 7, START, str(tmp_path.parent / "t.txt"))
    assert first.date == "2026-03-01"  # the first half hour of a day at +01:00 lies in the day before, in UTC
    assert second == Video("s3://bucket/c.mp4", 0, "1970-01-01T00:00:00+00:00")
    assert third == Video("/d.avi", 2, "1970-01-01T00:00:01.500000+00:00", "s3://bucket/d.txt")


def test_parquet_says_the_same_as_csv(tmp_path):
    zone = datetime.timezone(datetime.timedelta(hours=1))
    rows = {
        "video": ["a.avi", "b.avi"],
        "camera": [1, 2],
        "start": pyarrow.array(
            [datetime.datetime(2026, 3, 2, 0, 30, tzinfo=zone)] * 2, pyarrow.timestamp("s", "+01:00")
        ),
        "tracks": ["a.txt", None],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "m.parquet")
    csv = write(tmp_path, f"video,camera,start,tracks\na.avi,1,{START},a.txt\nb.avi,2,{START},\n")
    assert read_manifest(tmp_path / "m.parquet") == read_manifest(csv)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "m.csv has no column video"),
        ("video,camera\na,1\n", "m.csv has no column start"),
        ("video,camera,start,track\n", r"m.csv: the column 'track' is not known; columns are video, camera, start, tracks"),
        ("video,camera,start,start\n", "the column 'start' stands there twice"),
        ("video,camera,start\n", "m.csv lists no videos"),
        (f"video,camera,start\na.avi,1,{START}\n\nb.avi,-1,{START}\n", r"m.csv, line 4, camera: '-1' is not the number"),
        (f"video,camera,start\na.avi,1e3,{START}\n", r"m.csv, line 2, camera: '1e3'"),
        (f"video,camera,start\n,1,{START}\n", "m.csv, line 2, video: it is empty"),
        ("video,camera,start\na.avi,1,2026-03-02T09:00\n", "m.csv, line 2, start=2026-03-02T09:00 has no zone"),
        ("video,camera,start\na.avi,1,yesterday\n", "m.csv, line 2, start=yesterday is not a moment"),
        ("video,camera,start\na.avi,1\n", "m.csv, line 2: it has 2 values for 3 columns"),
        (f"video,camera,start\nhttp://x/a.avi,1,{START}\n", "line 2, video: http://x/a.avi is an address"),
        (f"video,camera,start\na.avi,1,{START}\n./a.avi,2,{START}\n", r"line 3, video: .*a.avi stands in line 2 already"),
        (b"video,camera,start\n\xff,1,0\n", "is not UTF-8 text"),
        ("video,camera,start\na.avi,1,0001-01-01T00:00:00+14:00\n", "line 2, start=0001-01-01T00:00:00.* is not a moment"),
        ("video,camera,start\na.avi,1,9999-12-31T23:59:59-14:00\n", "line 2, start=9999-12-31T23:59:59.* is not a moment"),
        ('video,camera,start\n"a.avi,1,0\n', "m.csv, line 2: it is not CSV"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence_that_names_its_place(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_manifest(write(tmp_path, text))


def test_parquet_names_the_row(tmp_path):
    file = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"video": ["a", "b"], "camera": [1, None], "start": ["0", "0"]}), file)
    with pytest.raises(InputError, match=r"m.parquet, row 2, camera: it is empty"):
        read_manifest(file)
    naive = pyarrow.table({"video": ["a"], "camera": [1], "start": [datetime.datetime(2026, 3, 2)]})
    pyarrow.parquet.write_table(naive, file)
    with pytest.raises(InputError, match="row 1, start=2026-03-02T00:00:00 has no zone"):
        read_manifest(file)
    file.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is not a Parquet file that can be read"):
        read_manifest(file)
    with pytest.raises(InputError, match="there is no manifest"):
        read_manifest(tmp_path / "other.csv")


def test_parquet_of_other_programs(tmp_path):
    file = tmp_path / "m.parquet"
    empty = {"video": ["a.avi"], "camera": [1], "start": ["0"], "tracks": [float("nan")]}
    pyarrow.parquet.write_table(pyarrow.table(empty), file)
    assert read_manifest(file)[0].tracks == ""
    pyarrow.parquet.write_table(pyarrow.table({"video": [b"a"], "camera": [1], "start": ["0"]}), file)
    with pytest.raises(InputError, match=r"m.parquet, row 1, video: a value of the type bytes is not text"):
        read_manifest(file)
