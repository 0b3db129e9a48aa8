"""Galleries of many files: read as one, checked against each other."""

import errno
import json
import os

import numpy as np
import pytest

from vreid_jax.archives.batches import batches_of
from vreid_jax.archives.question import Filters
from vreid_jax.errors import InputError
from vreid_jax.linking import open_sightings
from vreid_jax.search import open_gallery, ranked
from vreid_jax.search.address import holds_galleries, is_address, open_place
from vreid_jax.search.gallery import read_about, read_column, read_rows, replace_about
from vreid_jax.search.gallery_files import open_files, own_name


def test_a_folder_is_read_as_one_gallery_on_one_clock(made_folder, write_made_gallery):
    folder = made_folder()
    whole = open_gallery(folder)
    assert len(whole) == 12
    assert sorted(set(map(own_name, whole.columns["tracklet_id"].tolist()))) == ["track0", "track1", "track2"]
    assert len(set(whole.columns["tracklet_id"].tolist())) == 12
    assert whole.about["recorded_at"] == "2026-03-01T08:00:00+00:00"
    assert whole.about["input"] == str(folder)
    # Camera 1 began at 08:00 on both days, camera 2 an hour later: its first tracklet, at second 0, is at 3600.
    second = whole.columns["camid"] == 2
    np.testing.assert_array_equal(whole.columns["start_seconds"][second][:3], [3600, 3610, 3620])
    np.testing.assert_array_equal(read_column(folder, "tracklet_id"), whole.columns["tracklet_id"])
    some = read_rows(folder, np.array([1, 5, 11]))
    np.testing.assert_array_equal(some.vectors, whole.vectors[[1, 5, 11]])
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(some.columns[name], values[[1, 5, 11]])


def test_a_folder_began_in_the_offset_of_its_files_or_in_utc_where_they_have_several(write_made_gallery, tmp_path):
    for name, moment, began in (
        ("winter", "2026-02-04T08:00:00+01:00", "2026-02-04T08:00:00+01:00"),
        ("spring", "2026-03-04T08:00:00+01:00", "2026-02-04T08:00:00+01:00"),
        ("summer", "2026-07-04T08:00:00+02:00", "2026-02-04T07:00:00+00:00"),
        ("before", "2026-01-04T08:00:00+02:00", "2026-01-04T06:00:00+00:00"),
    ):
        write_made_gallery(tmp_path / "town" / f"{name}.parquet", recorded_at=moment)
        assert read_about(tmp_path / "town")["recorded_at"] == began


def test_the_name_of_a_tracklet_survives_that_its_file_is_moved(made_folder):
    folder = made_folder()
    before = sorted(open_gallery(folder).columns["tracklet_id"].tolist())
    (folder / "camera=1" / "date=2026-03-01" / "a.parquet").rename(folder / "elsewhere.parquet")
    assert sorted(open_gallery(folder).columns["tracklet_id"].tolist()) == before


def test_a_tracklet_has_one_key_in_its_file_and_in_the_folder(write_made_gallery, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    about = {"folder": str(tmp_path), "input": str(tmp_path / "link" / "town.mp4")}
    file = write_made_gallery(tmp_path / "arch" / "a.parquet", **about)
    inputs = {
        next(batches_of(open_files(place), Filters())).column("input")[0].as_py() for place in (file, file.parent)
    }
    assert inputs == {str(tmp_path / "link" / "town.mp4")}


def test_a_folder_that_cannot_be_read_is_not_left_out(made_folder, monkeypatch):
    folder, scandir = made_folder(), os.scandir

    def refused(path):
        if str(path).endswith("camera=2"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"the folder .*camera=2 cannot be read \(Permission denied\)"):
        open_files(folder)


def test_what_lies_beside_galleries_is_left_out(made_folder, write_made_gallery):
    folder = made_folder()
    for name in (".half.parquet", "_left.parquet", "g.parquet.parts/000000.parquet", "v.frames/x.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not Parquet")
    assert len(open_files(folder).parts) == 4


def test_files_of_two_models_are_one_sentence(made_folder, write_made_gallery):
    folder = made_folder()
    write_made_gallery(folder / "other.parquet", fingerprint="another")
    with pytest.raises(InputError, match=r"other\.parquet was made by model another .*vectors of different models"):
        open_gallery(folder)


def test_files_of_two_distances_or_lengths_are_one_sentence(made_folder, write_made_gallery):
    folder = made_folder()
    write_made_gallery(folder / "other.parquet", metric="cosine")
    with pytest.raises(InputError, match=r"the distance of .*other\.parquet is cosine, and of .* euclidean"):
        open_gallery(folder)
    write_made_gallery(folder / "other.parquet", dimensions=5)
    with pytest.raises(InputError, match=r"the length of a vector of .*other\.parquet is 5, and of .* 4"):
        open_gallery(folder)


def test_a_tracklet_that_two_files_hold_is_one_sentence(made_folder, write_made_gallery):
    folder = made_folder()
    write_made_gallery(folder / "again.parquet", camera=1, day=1)
    with pytest.raises(InputError, match=r"again\.parquet.* both hold the tracklet track0 of /cameras/1\.mp4"):
        open_gallery(folder)


def test_without_moments_the_times_of_several_videos_are_unknown(tmp_path, write_made_gallery):
    for camera in (1, 2):
        write_made_gallery(tmp_path / f"{camera}.parquet", camera=camera, recorded_at=None)
    assert np.isnan(open_gallery(tmp_path).columns["start_seconds"]).all()
    (tmp_path / "2.parquet").unlink()
    np.testing.assert_array_equal(open_gallery(tmp_path).columns["start_seconds"], [0, 10, 20])


def test_only_tracklets_of_one_video_are_seen_at_once(made_folder):
    whole = open_gallery(made_folder())
    times = np.array([[0.0, 1e6]])
    of_one = ranked.at_once(whole, times, whole.columns["input"][:1])
    np.testing.assert_array_equal(of_one[0], whole.columns["input"] == whole.columns["input"][0])
    assert ranked.at_once(whole, times).all()


def test_a_folder_is_linked_as_one_gallery_of_its_cameras(made_folder):
    sightings = open_sightings([made_folder()])
    assert len(sightings.paths) == 1
    assert set(sightings.cameras.tolist()) == {0, 1}
    assert sightings.clock == "unix"


def test_metadata_of_all_files_are_replaced(made_folder):
    folder = made_folder()
    replace_about(folder, retention_days=7)
    assert read_about(folder)["retention_days"] == 7
    replace_about(folder / "camera=1" / "date=2026-03-01" / "a.parquet", retention_days=8)
    assert read_about(folder)["retention_days"] is None  # they disagree


def test_addresses_and_folders_of_galleries_are_told_from_others(made_folder, tmp_path):
    folder = made_folder()
    (tmp_path / "pictures").mkdir()
    assert holds_galleries(folder)
    assert holds_galleries("s3://bucket/x")
    assert holds_galleries("g.parquet")
    assert not holds_galleries(tmp_path / "pictures")
    assert not is_address("C:/x")
    with pytest.raises(InputError, match="ftp://host/x is an address that this library cannot open"):
        open_place("ftp://host/x")


def test_the_commands_take_a_folder(made_folder, vreid):
    folder = made_folder()
    name = open_gallery(folder).columns["tracklet_id"][0]
    code, out, error = vreid("search", str(folder), f"--query={name}", "--json")
    assert code == 0, error
    matches = json.loads(out)["queries"][0]["matches"]
    assert name not in [match["tracklet_id"] for match in matches]
    assert len(matches) == 10
