"""Whether the tracklets of a gallery are those that were linked under their names."""

import numpy as np
import pytest

from vreid_jax.linking import given_band, link, open_sightings
from vreid_jax.search.gallery import open_gallery

pytest.importorskip("pyarrow")
V = 9 * np.eye(3, dtype=np.float32)
MONDAY, TUESDAY = ({"recorded_at": f"2026-05-0{day}T08:00:00+02:00"} for day in (4, 5))
T = [(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)]
ALL = ["track0000", "track0001", "track0002"]
LATER = [(0.0, 1.0), (2.0, 3.1), (4.5, 5.5)]


@pytest.fixture
def linked(tmp_path):
    """Link a gallery or folder, and say which tracklets of it as it then is are others."""

    def make(place):
        known = link(open_sightings([place]), tmp_path, given_band(1.0))

        def replaced():
            gallery = open_gallery(place)
            found = known.replaced(place.name, gallery.columns, gallery.about)
            return [name.split("/")[-1] for name in found]

        return replaced

    return make


@pytest.mark.parametrize("about", [{}, MONDAY])
def test_those_of_another_camera_or_time_are_others(gallery_file, linked, about):
    replaced = linked(gallery_file("g", V, 1, T, pictures=False, **about))
    assert replaced() == []
    gallery_file("g", -V, 1, T, pictures=False, fingerprint="e", model="another", **about)
    assert replaced() == []
    gallery_file("g", V, 1, LATER, pictures=False, **about)
    assert replaced() == ALL  # the first as well, whose times happen to agree
    gallery_file("g", V[:1], 2, T[:1], pictures=False, **about)
    assert replaced() == ALL  # those that are gone as well
    gallery_file("g", V, 1, pictures=False, **about)
    assert replaced() == []  # an unknown time says nothing


@pytest.mark.parametrize(("before", "after"), [(MONDAY, TUESDAY), (MONDAY, {}), ({}, MONDAY)])
def test_a_recording_whose_start_or_camera_is_corrected_is_the_same(gallery_file, linked, before, after):
    replaced = linked(gallery_file("g", V, 1, T, pictures=False, **before))
    for camera in (1, 2):
        gallery_file("g", V[:2], camera, T[:2], pictures=False, **after)
        assert replaced() == []
    gallery_file("g", V, 1, [T[0], T[1], (4.0, 5.1)], pictures=False, **after)
    assert replaced() == ALL
    gallery_file("g", V[:1], 1, T[1:2], pictures=False, **after)
    assert replaced() == ALL  # one tracklet alone may have its length by chance


def test_tracklets_that_all_last_as_long_as_the_file_do_not_say_that_its_start_was_corrected(gallery_file, linked):
    whole = [(0.0, 60.0)] * 3
    replaced = linked(gallery_file("g", V, 1, whole, pictures=False, **MONDAY))
    gallery_file("g", V, 1, whole, pictures=False, **TUESDAY)
    assert replaced() == ALL
    gallery_file("g", V, 2, whole, pictures=False, **MONDAY)
    assert replaced() == ALL


def test_a_folder_whose_clock_begins_anew_holds_the_same_tracklets(gallery_file, linked, tmp_path):
    def put(name, times=T, **about):
        gallery_file(name, V[: len(times)], 1, times, pictures=False, **about).replace(
            tmp_path / "town" / f"{name}.parquet"
        )

    (tmp_path / "town").mkdir()
    put("b", **TUESDAY)
    replaced = linked(tmp_path / "town")
    put("a", **MONDAY)  # from which the seconds of the folder count now
    assert replaced() == []
    put("c")  # with which the folder has no moment
    assert replaced() == []
    put("b", LATER, **TUESDAY)
    assert replaced() == ALL  # of this recording, and no other
    put("b", LATER[2:], **TUESDAY)
    assert replaced() == []  # of one only its length is known
    put("b", LATER[1:], **TUESDAY)
    (tmp_path / "town" / "c.parquet").unlink()
    assert replaced() == ALL


def test_a_recording_of_a_folder_has_other_names_if_its_start_alone_was_corrected(gallery_file, tmp_path):
    def put(name, times=T, camid=1, **about):
        gallery_file(name, V[: len(times)], camid, times, pictures=False, input="a.avi", **about).replace(
            town / f"{name}.parquet"
        )

    def renamed():
        return sorted(place[name.split("/")[0]] for name in known.new_names("town", open_gallery(town).columns))

    town = tmp_path / "town"
    town.mkdir()
    put("a", **MONDAY)
    known = link(open_sightings([town]), tmp_path, given_band(1.0))
    place = dict.fromkeys((name.split("/")[0] for name in known.columns["tracklet_id"].tolist()), "a")
    assert renamed() == []
    put("a", T[:2], 2, **TUESDAY)
    assert renamed() == ["a"] * 3  # what it no longer has as well
    for times in (LATER, T[:1], [(0.0, 1.0)] * 3, None):
        put("a", times or [(None, None)] * 3, **TUESDAY)
        assert renamed() == []
    put("a", **TUESDAY)
    put("b", recorded_at="2026-05-06T08:00:00+02:00")
    assert renamed() == []  # it could be either
    put("a", **MONDAY)
    assert renamed() == []
