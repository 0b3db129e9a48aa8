"""The picture of attention: where the ring and the red are, and the command."""

import numpy as np
import pytest

from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.visualize.heat import attention_rows


def test_the_strongest_cell_is_warmest_and_the_asking_frame_ringed():
    frames = np.full((4, 16, 8, 3), 100, np.uint8)
    weights = np.zeros((2, 4, 2), np.float32)
    weights[1, 3, 0] = 0.5  # frames 2 and 3, lowest quarter, left half
    (label, plain), (_, warm) = attention_rows("clip", frames, weights, (1, 4, 6), scale=4)
    assert label == "clip"
    yellow = [frame[..., 0].astype(int) - frame[..., 2] > 50 for frame in plain]
    assert [bool(mask.any()) for mask in yellow] == [False, True, False, False]
    rows, columns = np.nonzero(yellow[1])
    np.testing.assert_allclose((rows.mean(), columns.mean()), (18, 26), atol=1.5)
    red = [frame[..., 0].astype(int) - frame[..., 2] for frame in warm]
    assert red[0].max() < 0
    for frame in red[2:]:
        assert frame[60, 4] > 60
        assert frame[5, 25] < 0


def test_a_position_outside_is_named():
    frames, weights = np.zeros((4, 16, 8, 3), np.uint8), np.ones((4, 4, 2), np.float32)
    with pytest.raises(InputError, match="lies outside"):
        attention_rows("clip", frames, weights, (1, 16, 0))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=picture.bmp"], "must end in .png or .jpg"),
        (["--out=nowhere/at/all.png"], "in a folder that exists"),
        ([], "is not the workdir of a run"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, flags, words):
    good = [f"--workdir={tmp_path}", f"--out={tmp_path / 'picture.png'}"]
    assert command.main(["attention", *good, *flags]) == 2
    assert words in capsys.readouterr().err
