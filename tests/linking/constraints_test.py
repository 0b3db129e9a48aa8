"""What times say for certain: hand-worked cases."""

import math

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.linking import Walk, read_walks
from vreid_jax.linking.constraints import clockwork
from vreid_jax.linking.walking import check_cameras_of, tables_of, walks_of

TIMES = [(0, 10), (10, 20), (11, 20), (15, 16), (40, 50), (math.nan, math.nan)]
CAMERAS = [1, 1, 1, 2, 2, 1]


def apart(sights, **given):
    clock = clockwork(sights, **given)
    rows = np.arange(len(sights))
    found = clock.apart(rows[:, None], rows[None]) & np.triu(np.ones((6, 6), bool), 1)
    return {(int(one), int(other)) for one, other in np.argwhere(found)}


def test_one_camera_sees_nobody_twice_at_once(sightings):
    sights = sightings(np.zeros((6, 1)), CAMERAS, TIMES)
    assert apart(sights) == {(0, 1), (1, 2)}  # a shared moment is enough, an unknown time forbids nothing


def test_cameras_without_overlap_are_as_one(sightings):
    sights = sightings(np.zeros((6, 1)), CAMERAS, TIMES)
    assert apart(sights, no_overlap=True) == {(0, 1), (1, 2), (1, 3), (2, 3)}


def test_nobody_walks_faster_than_that_and_links_do_not_begin_slower(sightings):
    sights = sightings(np.zeros((6, 1)), CAMERAS, TIMES)
    walks = (Walk((1, 2), 6.0, 25.0),)
    assert apart(sights, walks=walks) == {(0, 1), (1, 2), (0, 3), (1, 3), (2, 3)}  # 5 s from the first to the fourth
    clock = clockwork(sights, walks=walks)
    assert clock.fitting(np.array([0, 1, 2]), np.array([4, 4, 4])).tolist() == [False, True, True]  # 30, 20, 20 s


def test_a_way_without_least_seconds_leaves_them_as_they_were(sightings):
    sights = sightings(np.zeros((6, 1)), CAMERAS, TIMES)
    walks = (Walk((1, 2), max_seconds=25.0),)
    for no_overlap in (False, True):
        assert apart(sights, walks=walks, no_overlap=no_overlap) == apart(sights, no_overlap=no_overlap)
    assert not clockwork(sights, walks=walks).fitting(np.array([0]), np.array([4])).any()
    assert apart(sights, walks=(Walk((1, 2), 0.0),)) == apart(sights, no_overlap=True)


def test_walks_are_read_from_a_file(tmp_path):
    file = tmp_path / "cameras.toml"
    file.write_text("[[walk]]\nbetween = [2, 1]\nmin_seconds = 20\nmax_seconds = 120.5\n[[walk]]\nbetween = [2, 3]\n")
    assert read_walks(file) == (Walk((1, 2), 20.0, 120.5), Walk((2, 3)))
    file.write_text("[[walk]]\nbetween = [1, 2]\nmin_seconds = 0\n[[walk]]\nbetween = [2, 3]\nmax_seconds = 9\n")
    walks = read_walks(file)
    assert walks == (Walk((1, 2), 0.0, math.inf), Walk((2, 3), -math.inf, 9.0))
    assert walks_of(tables_of(walks), "") == walks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("walk = 3", "has to consist of tables"),
        ("[[walk]]\nbetween = [1, 1]", "between camera 1 and itself"),
        ("[[walk]]\nbetween = [1, 0]", "needs between"),
        ("[[walk]]\nbetween = [1, 2]\nmin = 3", "has min; there are"),
        ("[[walk]]\nbetween = [1, 2]\nmin_seconds = nan", "min_seconds=nan; it must be"),
        ("[[walk]]\nbetween = [1, 2]\nmin_seconds = inf", "min_seconds=inf; it must be a number of seconds, from 0"),
        ("[[walk]]\nbetween = [1, 2]\nmax_seconds = inf", "max_seconds=inf; it must be"),
        (f"[[walk]]\nbetween = [1, 2]\nmax_seconds = {10**309}", "; it must be a number of seconds, from 0"),
        ("[[walk]]\nbetween = [1, 2]\nmin_seconds = 9\nmax_seconds = 3", "min_seconds=9 above max_seconds=3"),
        ("[[walk]]\nbetween = [1, 2]\n[[walk]]\nbetween = [2, 1]", "twice"),
        ("[[walk", "is not a TOML file"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_sentence(tmp_path, text, words):
    file = tmp_path / "cameras.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_walks(file)


def test_a_way_to_a_camera_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"names camera 7, and the galleries have 1, 2"):
        check_cameras_of([Walk((1, 7))], {0, 1, 2}, "c.toml")
