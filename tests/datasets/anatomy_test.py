import numpy as np
import pytest

from vreid_jax.datasets.walkers.anatomy import Body, joints, project

PHASE = np.linspace(0, 2 * np.pi, 48, endpoint=False)


@pytest.mark.parametrize("offset", [0.0, 0.4, 1.1])
def test_reversed_time_with_the_opposite_arm_offset_gives_the_same_set_of_frames(offset):
    forwards = joints(Body(), PHASE, offset)
    backwards = joints(Body(), np.pi - PHASE, -offset)
    for name in forwards:
        np.testing.assert_allclose(forwards[name], backwards[name], atol=1e-12)


def test_limbs_keep_their_length():
    at = joints(Body(arms_out=0.0), PHASE, 0.5)
    for start, end, length in [("left_hip", "left_knee", 0.245), ("right_knee", "right_ankle", 0.235)]:
        np.testing.assert_allclose(np.linalg.norm(at[end] - at[start], axis=-1), length, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(at["left_elbow"] - at["left_shoulder"], axis=-1), 0.165, rtol=1e-12)


def test_the_lower_foot_stands_on_the_ground():
    at = joints(Body(), PHASE, 0.0)
    feet = np.stack([at[f"{side}_{end}"][:, 2] for side in ("left", "right") for end in ("heel", "toe")])
    np.testing.assert_allclose(feet.min(axis=0), 0.0175, atol=1e-12)


def test_arms_swing_against_the_legs_without_an_offset():
    at = joints(Body(), np.array([np.pi / 2]), 0.0)
    assert at["left_knee"][0, 0] > at["right_knee"][0, 0]
    assert at["left_elbow"][0, 0] < at["right_elbow"][0, 0]


def test_views():
    point = np.array([[1.0, 2.0, 3.0]])  # forward, left, up
    np.testing.assert_allclose(project(point, 0.0, 0.0), [[1.0, -3.0]], atol=1e-12)
    np.testing.assert_allclose(project(point, np.pi, 0.0), [[-1.0, -3.0]], atol=1e-12)
    np.testing.assert_allclose(project(point, np.pi / 2, 0.0), [[2.0, -3.0]], atol=1e-12)
    # Seen straight from above, what is nearer to the camera is lower in the picture.
    np.testing.assert_allclose(project(point, np.pi / 2, np.pi / 2), [[2.0, 1.0]], atol=1e-12)
