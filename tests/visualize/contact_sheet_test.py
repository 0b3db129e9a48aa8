import numpy as np
import pytest

from vreid_jax.datasets.walkers.plan import make_plan
from vreid_jax.datasets.walkers.walkers_dataset_builder import CONFIGS
from vreid_jax.errors import InputError
from vreid_jax.visualize.contact_sheet import contact_sheet, walkers_rows


def test_frames_are_laid_out_in_rows_under_their_labels():
    red, blue = np.zeros((8, 4, 3), np.uint8), np.zeros((16, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 100
    sheet = contact_sheet([("a", [red, red]), ("b", [blue])], columns=3, cell_height=32)
    assert sheet.shape == (2 * (32 + 18), 2 * (16 + 2), 3)  # as wide as the widest row
    np.testing.assert_array_equal(sheet[30, 5], [200, 0, 0])
    np.testing.assert_array_equal(sheet[30, 18 + 5], [200, 0, 0])
    np.testing.assert_array_equal(sheet[50 + 30, 5], [0, 0, 100])
    np.testing.assert_array_equal(sheet[50 + 30, 18 + 5], [255, 255, 255])


def test_a_sheet_is_as_wide_as_its_longest_label():
    label = "test/00199 and test/00200 (the same person): similarity 0.65, clips 6 and 5, cosine 0.89"
    sheet = contact_sheet([(label, [np.zeros((32, 16, 3), np.uint8)])], cell_height=32)
    written = np.flatnonzero((sheet[:18] < 200).any((0, 2))).max()
    assert written < sheet.shape[1] < written + 12


def test_frames_that_do_not_fit_are_left_out():
    frame = np.zeros((8, 4, 3), np.uint8)
    assert contact_sheet([("a", [frame] * 9)], columns=2, cell_height=32).shape == (50, 36, 3)


def test_nothing_to_show_is_an_error():
    with pytest.raises(InputError, match="no frames to show"):
        contact_sheet([("a", [])])


def test_rows_of_walkers_show_each_thing_it_is_about():
    rows = walkers_rows(make_plan(CONFIGS["small"]))
    labels = [label.partition(":")[0] for label, _ in rows]
    assert {"identity", "gait twin", "occlusion", "crossing", "tracking failure", "distractor", "junk"} == set(labels)
    assert labels.count("gait twin") == 6
    assert {(frame.dtype.name, frame.shape) for _, frames in rows for frame in frames} == {("uint8", (64, 32, 3))}
