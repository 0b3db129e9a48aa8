"""A walking skeleton: joint positions from build, posture and phase, projected to the picture plane.

Every joint depends on the phase θ only through sin θ (legs) and sin(θ + φ) (arms). Two consequences make gait twins
honest: under a uniform phase a single frame says nothing about the stride frequency, and since θ → π - θ maps φ to -φ,
it does not say whether the arms lead or lag either. Only the order of frames does.
"""

import dataclasses

import numpy as np

# Segment lengths as fractions of the standing height.
THIGH, SHIN, ANKLE = 0.245, 0.235, 0.035
UPPER_ARM, FOREARM = 0.165, 0.145
TORSO, NECK = 0.285, 0.10


@dataclasses.dataclass(frozen=True)
class Body:
    """Build and posture of one person; lengths as fractions of the standing height, angles in radians."""

    build: float = 1.0  # width of everything
    leg_swing: float = 0.5
    arm_swing: float = 0.45
    knee_bend: float = 0.7
    elbow_bend: float = 0.35
    lean: float = 0.05  # of the trunk, forwards
    arms_out: float = 0.12  # away from the trunk
    head: float = 0.066  # radius


def _polar(angle: np.ndarray, length: float) -> np.ndarray:
    """Return a downward segment swung forwards by `angle` → `[T, 3]` (forward, left, up)."""
    return np.stack([length * np.sin(angle), np.zeros_like(angle), -length * np.cos(angle)], -1)


def joints(body: Body, phase: np.ndarray, arm_offset: float) -> dict[str, np.ndarray]:
    """Return the joint positions of a walking person.

    Args:
      body: build and posture.
      phase: `[T]` stride phase in radians; one turn is two steps.
      arm_offset: φ, by how much the arms run ahead of the legs beyond their natural opposition, in radians.

    Returns:
      Name → `[T, 3]`, (forward, left, up) in standing heights, the lower foot on the ground at up = 0.
    """
    legs, arms = np.sin(phase), np.sin(phase + arm_offset)
    points: dict[str, np.ndarray] = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * legs
        thigh = body.leg_swing * (swing + 0.12)
        shin = thigh - 0.08 - body.knee_bend * ((1 - swing) / 2) ** 2
        hip = np.broadcast_to(np.array([0.0, sign * 0.045 * body.build, 0.0]), (len(phase), 3))
        knee = hip + _polar(thigh, THIGH)
        ankle = knee + _polar(shin, SHIN)
        tilt = 0.45 * np.minimum(shin + 0.15, 0.0) + 0.35 * np.maximum(shin, 0.0)
        forwards = np.stack([np.cos(tilt), np.zeros_like(tilt), np.sin(tilt)], -1)
        sole = ankle + np.array([0.0, 0.0, -0.5 * ANKLE])
        points |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
        points |= {f"{side}_heel": sole - 0.025 * forwards, f"{side}_toe": sole + 0.085 * forwards}

    trunk = np.array([np.sin(body.lean), 0.0, np.cos(body.lean)])
    collar = np.broadcast_to(TORSO * trunk, (len(phase), 3))
    points["pelvis"] = np.zeros_like(collar)
    points["collar"] = collar
    points["head"] = collar + NECK * np.array([np.sin(1.3 * body.lean), 0.0, np.cos(body.lean)])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = -sign * arms
        upper = body.arm_swing * swing
        shoulder = collar + np.array([0.0, sign * 0.098 * body.build, -0.025])
        elbow = shoulder + _polar(upper, UPPER_ARM) + np.array([0.0, sign * body.arms_out * UPPER_ARM, 0.0])
        lower = upper + body.elbow_bend * (0.6 + 0.4 * swing)
        hand = elbow + _polar(lower, FOREARM) + np.array([0.0, sign * 0.3 * body.arms_out * FOREARM, 0.0])
        points |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_hand": hand}

    lowest = np.minimum(points["left_heel"][:, 2], points["right_heel"][:, 2])
    lowest = np.minimum(lowest, np.minimum(points["left_toe"][:, 2], points["right_toe"][:, 2]))
    lift = np.zeros((len(phase), 3))
    lift[:, 2] = 0.5 * ANKLE - lowest
    return {name: point + lift for name, point in points.items()}


def project(point: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """Project body coordinates `[T, 3]` orthographically → `[T, 2]`: x to the right, y downwards, in standing heights.

    `yaw` 0 walks to the right, π/2 towards the camera, π to the left; `pitch` is how far the camera looks down.
    """
    forward, left, up = point[:, 0], point[:, 1], point[:, 2]
    across = forward * np.cos(yaw) + left * np.sin(yaw)
    towards = forward * np.sin(yaw) - left * np.cos(yaw)
    return np.stack([across, -(up * np.cos(pitch) - towards * np.sin(pitch))], -1)
