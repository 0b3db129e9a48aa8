"""Galleries as one: clocks, cameras, and what cannot be joined."""

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.linking import open_sightings
from vreid_jax.linking.constraints import clockwork

pytest.importorskip("pyarrow")
V = np.eye(3, dtype=np.float32)
T = [(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)]


def test_times_are_those_of_the_recordings(gallery_file):
    one = gallery_file("one", V, 1, T, recorded_at="2026-03-02T09:00:00+00:00")
    two = gallery_file("two", 2 * V, 1, T, recorded_at="2026-03-02T10:00:06+01:00")
    found = open_sightings([one, two])
    assert found.clock == "unix"
    np.testing.assert_allclose(found.times[3] - found.times[0], 6.0)
    assert found.times[0, 0] == 1772442000.0
    assert found.cameras.tolist() == [0] * 6


def test_without_recordings_all_videos_begin_at_once_and_unknown_cameras_are_of_their_gallery(gallery_file):
    found = open_sightings([gallery_file("one", V, 0, T), gallery_file("two", V, 0, T), gallery_file("six", V, 6, T)])
    assert found.clock == "common"
    assert len(np.unique(found.cameras)) == 3
    assert found.times[:, 0].tolist() == [0, 2, 4] * 3


def test_vectors_are_of_unit_length_where_the_metric_is_cosine(gallery_file):
    found = open_sightings([gallery_file("one", 7 * V, 1, T, metric="cosine")])
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0)


def test_what_cannot_be_joined_is_one_sentence(gallery_file):
    one = gallery_file("one", V, 1, T)
    other = gallery_file("other", V, 2, T, fingerprint="e", model="another")
    with pytest.raises(InputError, match=r"other.parquet was made by model e \(another\), .*one.parquet by f \(toy\)"):
        open_sightings([one, other])
    with pytest.raises(InputError, match=r"one.parquet is given twice"):
        open_sightings([one, one])
    with pytest.raises(InputError, match=r"one.parquet lies in .*, of which all is linked: give one of them"):
        open_sightings([one, one.parent])
    with pytest.raises(
        InputError, match=r"both of camera 1 and overlap in time, from 0.0 s to 5.0 s: say with --start="
    ):
        open_sightings([one, gallery_file("two", V, 1, T)])
    with pytest.raises(InputError, match=r"when.parquet says when it was recorded and .*one.parquet does not: embed"):
        open_sightings([gallery_file("when", V, 2, T, recorded_at="2026-03-02T09:00:00+00:00"), one])
    with pytest.raises(InputError, match=r"same.parquet were both made from .*one.avi: give one of them"):
        open_sightings([one, gallery_file("same", V, 2, T, input="one.avi")])


def test_one_camera_at_two_times_is_fine(gallery_file):
    later = gallery_file("later", V, 1, T, recorded_at="2026-03-02T09:01:00Z")
    found = open_sightings([gallery_file("now", V, 1, T, recorded_at="2026-03-02T09:00:00+00:00"), later])
    assert len(np.unique(found.cameras)) == 1


def test_inputs_of_one_relative_path_are_one_only_in_one_folder(gallery_file, tmp_path):
    files = [gallery_file(name, V, camid, T, input="v.webm") for camid, name in enumerate(("one", "two"), 1)]
    with pytest.raises(InputError, match=f"were both made from {tmp_path}/v.webm"):
        open_sightings(files)
    (tmp_path / "f2").mkdir()
    files[1] = files[1].rename(tmp_path / "f2" / "g.parquet")
    assert len(open_sightings(files)) == 2 * len(V)


@pytest.fixture
def chunks(gallery_file, tmp_path):
    """Write a recording of 8 s and one of 3 s of a camera, of which the second begins so many seconds after the first."""

    def write(seconds, folder, camids=(1, 1), times=((0.0, 0.5), (1.0, 2.0), (2.5, 3.0))):
        files = [
            gallery_file(
                "a",
                V,
                camids[0],
                [(0.0, 1.0), (2.0, 3.0), (7.0, 8.0)],
                pictures=False,
                recorded_at="2026-03-02T09:00:00Z",
            ),
            gallery_file("b", V, camids[1], times, pictures=False, recorded_at=f"2026-03-02T09:00:{seconds:04.1f}Z"),
        ]
        if not folder:
            return files
        (tmp_path / "town").mkdir(exist_ok=True)
        for file in files:
            file.replace(tmp_path / "town" / file.name)
        return [tmp_path / "town"]

    return write


@pytest.mark.parametrize("folder", [False, True])
def test_consecutive_recordings_of_a_camera_may_share_a_seam_at_which_nobody_is_certainly_two(chunks, folder):
    found = open_sightings(chunks(7.8, folder))
    assert found.recordings.tolist() == [0, 0, 0, 1, 1, 1]
    clock = clockwork(found, no_overlap=True)
    assert not clock.apart(np.array([2]), np.array([3])).any()
    assert clock.apart(np.array([3]), np.array([3])).all()
    assert clock.fitting(np.array([2]), np.array([3])).all()
    with pytest.raises(InputError, match=r"overlap in time, from 2026-03-02T09:00:02\+00:00 to 2026-03-02T09:00:08"):
        open_sightings(chunks(2.0, folder, times=((0.0, 2.5), (3.0, 4.0), (5.0, 7.5))))


def test_a_folder_names_its_recordings_that_overlap(chunks):
    later = ((0.0, 2.0), (3.0, 4.0), (5.0, 7.0))
    with pytest.raises(
        InputError, match=r"a.avi-\w{10} and b.avi-\w{10} in .*town are both of camera 1 and overlap in time"
    ):
        open_sightings(chunks(1.0, True, times=later))
    assert len(open_sightings(chunks(1.0, True, camids=(1, 2), times=later))) == 6


def test_videos_that_begin_at_once_are_not_consecutive(gallery_file):
    short = [(0.0, 0.1), (0.2, 0.3), (0.4, 0.5)]
    with pytest.raises(InputError, match="both of camera 1 and overlap"):
        open_sightings([gallery_file("one", V, 1, short), gallery_file("two", V, 1, short)])
