import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.visualize.animation import animation, write_animation


def frames(level, count, height=32, width=16):
    return [np.full((height, width, 3), level + t, np.uint8) for t in range(count)]


def test_a_shorter_tracklet_starts_again():
    shown = animation([("train x: pid 1", frames(10, 3)), ("pid 2", frames(100, 5))], cell_height=64)
    assert shown.shape == (5, 64 + 14, 2 * 150, 3)
    assert shown[:, 0, 0, 0].tolist() == [10, 11, 12, 10, 11]
    assert shown[:, 0, 150, 0].tolist() == [100, 101, 102, 103, 104]


def test_frames_keep_their_shape_and_rows_are_filled_from_the_left():
    shown = animation([("a", frames(5, 1, 20, 40))] * 3, columns=2, cell_height=60, longest=4)
    assert shown.shape == (1, 2 * 74, 300, 3)
    part = shown[0, :60, :150] == 5
    assert part.all(-1).any(0).sum() == 2 * part.all(-1).any(1).sum() == 120


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_an_animation_appears_whole_or_is_an_error(tmp_path, name):
    shown = animation([("a", frames(10, 3))])
    write_animation(tmp_path / name, shown, 10.0)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(InputError, match=f"cannot write .*{name}: "):
        write_animation(tmp_path / "none" / name, shown, 10.0)


def test_nothing_to_show_is_said():
    with pytest.raises(InputError, match="no frames to show"):
        animation([("a", [])])
