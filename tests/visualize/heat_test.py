import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.visualize.heat import overlay, part_map_rows, response_rows


def test_a_map_colours_the_frames_and_places_it_belongs_to():
    frames = np.full((4, 8, 4, 3), 100, np.uint8)
    heat = np.zeros((2, 2, 1), np.float32)
    heat[1, 0] = 1.0  # the second half of the clip, its upper half
    found = overlay(frames, heat, strength=0.5).astype(int)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    np.testing.assert_array_equal(found[0], np.broadcast_to(found[0, 0, 0], found[0].shape))
    red, blue = found[2, 0, 0], found[2, -1, 0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    np.testing.assert_array_equal(overlay(frames, heat, strength=0.0), frames)


def test_rows_of_parts_and_layers_say_what_they_show():
    frames = np.zeros((2, 8, 4, 3), np.uint8)
    maps = np.linspace(0.25, 0.75, 8, dtype=np.float32).reshape(1, 4, 1, 2)
    labels = [label for label, _ in part_map_rows("query 7", frames, maps)]
    assert labels == ["query 7", "part 1, from 0.25 to 0.68", "part 2, from 0.32 to 0.75"]
    rows = response_rows("query 7", frames, {"conv1": np.ones((2, 4, 2, 3)), "conv2": np.zeros((1, 2, 1, 5))})
    assert [label for label, _ in rows] == ["query 7", "conv1", "conv2"]
    assert all(len(shown) == 2 for _, shown in rows)
    with pytest.raises(InputError, match=r"layer pooled has shape \(5,\)"):
        response_rows("query 7", frames, {"pooled": np.zeros(5)})
