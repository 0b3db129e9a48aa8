"""The picture of attention: where the ring and the red are, and the command."""

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.visualize import attention
from vreid_jax.visualize.attention_picture import attention_picture


def test_the_strongest_cell_is_red_and_the_asking_frame_ringed():
    frames = np.full((4, 16, 8, 3), 100, np.uint8)
    weights = np.zeros((2, 4, 2), np.float32)
    weights[1, 3, 0] = 0.5  # frames 2 and 3, lowest quarter, left half
    picture = attention_picture(frames, weights, (1, 4, 6), cell_height=64)
    assert picture.shape == (64 + 4 + 64, 4 * 32, 3)
    top, below = picture[:64].astype(int), picture[68:].astype(int)
    yellow = (top[..., 0] - top[..., 2]) > 100
    assert yellow[:, 32:64].any()
    assert not yellow[:, :32].any()
    assert not yellow[:, 64:].any()
    rows, columns = np.nonzero(yellow)
    np.testing.assert_allclose((rows.mean(), columns.mean() - 32), (18, 26), atol=1.5)
    red = below[..., 0] - below[..., 2]
    assert not red[:, :64].any()
    for left in (64, 96):
        assert red[58, left + 4] > 140
        assert red[5, left + 20] == 0


def test_a_position_outside_is_named():
    frames, weights = np.zeros((4, 16, 8, 3), np.uint8), np.ones((4, 4, 2), np.float32)
    with pytest.raises(InputError, match="lies outside"):
        attention_picture(frames, weights, (1, 16, 0))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=picture.bmp"], "must end in .png or .jpg"),
        (["--out=nowhere/at/all.png"], "in a folder that exists"),
        ([], "holds no run"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, flags, words):
    good = [f"--workdir={tmp_path}", f"--out={tmp_path / 'picture.png'}"]
    assert attention.main([*good, *flags]) == 2
    assert words in capsys.readouterr().err
