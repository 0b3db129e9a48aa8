"""Pictures as files: whole, in the right colours, or an error."""

import cv2
import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.visualize.picture_file import write_picture


def test_a_picture_is_written_in_its_colours(tmp_path):
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], picture)


def test_what_cannot_be_written_or_encoded_is_an_error_and_leaves_what_was_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*a.png: No such file"):
        write_picture(tmp_path / "none" / "a.png", np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "a.jpg").write_bytes(b"earlier")
    with pytest.raises(InputError, match=r"OpenCV cannot encode the picture .*a.jpg: show less in it, or name a .png"):
        write_picture(tmp_path / "a.jpg", np.zeros((70_000, 1, 3), np.uint8))  # a JPEG has at most 65535 rows
    assert (tmp_path / "a.jpg").read_bytes() == b"earlier"
