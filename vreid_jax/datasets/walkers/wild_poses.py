"""Poses of walkers/wild in three dimensions, and the perspective that a camera sees of them."""

import dataclasses
from typing import NamedTuple

import numpy as np

from vreid_jax.datasets.walkers.wild_people import Build

JOINTS = (
    *(f"{side}_{name}" for side in ("left", "right") for name in
      ("hip", "knee", "ankle", "heel", "toe", "shoulder", "elbow", "hand")),
    "pelvis", "collar", "neck", "head", "nape",
)  # fmt: skip
_UPPER_ARM, _FOREARM, _FOOT = 0.172, 0.150, 0.038


class Arm(NamedTuple):
    """How an arm is held, radians."""

    swing: float  # amplitude of the swing with the legs
    forward: float  # of the upper arm
    out: float  # of the upper arm, away from the trunk
    bend: float  # of the elbow
    across: float  # of the forearm, towards the other side


@dataclasses.dataclass(frozen=True)
class Pose:
    """The pose during a tracklet of T frames."""

    phase: np.ndarray  # [T], of the stride
    stride: float  # amplitude of the legs
    knees: float  # bend of the knees while walking
    apart: float  # of the feet, sideways
    sitting: float  # 0 stands, 1 sits
    lean: float
    arms: tuple[Arm, Arm]  # left, right
    head_turn: float


@dataclasses.dataclass(frozen=True)
class View:
    """Where the camera stands, relative to the person."""

    yaw: np.ndarray  # [T], 0 walks to the right, π/2 towards the camera
    pitch: float  # how far the camera looks down
    distance: float  # in standing heights; perspective is strong when small

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project `[…, T, 3]` (forward, left, up) → `[…, T, 2]` (right, down), and by how much nearer things look larger."""
        forward, left, up = points[..., 0], points[..., 1], points[..., 2] - 0.5
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        towards = forward * sin - left * cos
        high, far = (
            up * np.cos(self.pitch) - towards * np.sin(self.pitch),
            up * np.sin(self.pitch) + towards * np.cos(self.pitch),
        )
        scale = self.distance / np.maximum(self.distance - far, 0.3)
        return np.stack([(forward * cos + left * sin) * scale, -high * scale], -1), scale


_ARMS = {
    "swing": (Arm(0.42, 0.0, 0.10, 0.30, 0.1),) * 2,
    "stiff": (Arm(0.15, 0.02, 0.14, 0.15, 0.1),) * 2,
    "pockets": (Arm(0.06, -0.25, 0.28, 0.75, 0.25),) * 2,
    "one pocket": (Arm(0.06, -0.25, 0.28, 0.75, 0.25), Arm(0.35, 0.0, 0.1, 0.3, 0.1)),
    "phone": (Arm(0.3, 0.0, 0.1, 0.3, 0.1), Arm(0.03, 0.35, 0.12, 1.9, 0.45)),
    "call": (Arm(0.03, 0.3, 0.35, 2.45, 0.2), Arm(0.3, 0.0, 0.1, 0.3, 0.1)),
    "crossed": (Arm(0.02, 0.25, 0.1, 1.5, 1.1),) * 2,
    "carry": (Arm(0.04, 0.15, 0.15, 1.25, 0.4),) * 2,
    "behind": (Arm(0.02, -0.4, 0.12, 0.5, 0.9),) * 2,
    "push": (Arm(0.02, 0.45, 0.1, 0.75, 0.05),) * 2,
    "point": (Arm(0.05, 1.15, 0.2, 0.3, 0.1), Arm(0.3, 0.0, 0.1, 0.3, 0.1)),
}
_ARMS_SHARE = [0.4, 0.14, 0.13, 0.08, 0.07, 0.03, 0.03, 0.06, 0.03, 0.0, 0.03]


def sample_pose(rng: np.random.Generator, build: Build, bag: str, length: int) -> Pose:
    """Draw how somebody walks, stands or sits during a tracklet; people with a pram push it."""
    kind = rng.choice(["walk", "stand", "sit"], p=[0.8, 0.17, 0.03])
    names = list(_ARMS)
    arms = _ARMS["push" if bag == "pram" else names[rng.choice(len(names), p=_ARMS_SHARE)]]
    if rng.random() < 0.5:
        arms = arms[::-1]
    jitter = rng.normal(0, [0.05, 0.08, 0.05, 0.12, 0.08], (2, 5))
    held = [Arm(*row) for row in (np.array(arms) + jitter).tolist()]
    walk = kind == "walk"
    step = rng.uniform(0.4, 1.5) if walk else rng.uniform(0.0, 0.1)  # of the phase, between frames
    return Pose(
        phase=rng.uniform(0, 2 * np.pi) + step * np.arange(length) + rng.normal(0, 0.1, length),
        stride=build.stride * np.exp(rng.normal(0, 0.12)) if walk else rng.uniform(0.0, 0.12),
        knees=rng.uniform(0.4, 0.95) if walk else rng.uniform(0.0, 0.3),
        apart=rng.uniform(-0.01, 0.02) if walk else rng.uniform(0.0, 0.06),
        sitting=1.0 if kind == "sit" else 0.0,
        lean=build.stoop + rng.normal(0, 0.03),
        arms=(held[0], held[1]),
        head_turn=rng.normal(0, 0.35),
    )


def _down(forward: np.ndarray, out: float, length: float) -> np.ndarray:
    """Return a downward segment swung forwards and out to the left → `[T, 3]`."""
    flat = np.full_like(forward, np.sin(out))
    return length * np.stack([np.cos(out) * np.sin(forward), flat, -np.cos(out) * np.cos(forward)], -1)


def skeleton(build: Build, pose: Pose) -> dict[str, np.ndarray]:
    """Return the joints, name → `[T, 3]` (forward, left, up) in standing heights; the lower foot is on the ground."""
    length = len(pose.phase)
    thigh, shin = 0.52 * (build.hip - 0.035), 0.48 * (build.hip - 0.035)
    torso = 1.0 - build.hip - 2 * build.head - 0.045
    legs = np.sin(pose.phase)
    still = np.zeros((length, 3))
    at: dict[str, np.ndarray] = {"pelvis": still}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * legs
        up = pose.stride * (swing + 0.12) + 1.35 * pose.sitting
        low = up - 0.06 - pose.knees * ((1 - swing) / 2) ** 2 - 1.3 * pose.sitting
        hip = still + np.array([0.0, sign * build.pelvis, 0.0])
        knee = hip + _down(up, sign * pose.apart, thigh)
        ankle = knee + _down(low, sign * 0.5 * pose.apart, shin)
        tilt = 0.45 * np.minimum(low + 0.15, 0.0) + 0.35 * np.maximum(low, 0.0)
        sole = ankle - np.array([0.0, 0.0, 0.018])
        along = np.stack([np.cos(tilt), np.full_like(tilt, 0.15 * sign), np.sin(tilt)], -1)
        at |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
        at |= {f"{side}_heel": sole - 0.6 * _FOOT * along, f"{side}_toe": sole + 2.4 * _FOOT * along}
    trunk = np.array([np.sin(pose.lean), 0.0, np.cos(pose.lean)])
    at["collar"] = still + torso * trunk
    at["neck"] = at["collar"] + 0.035 * trunk
    nod = np.array([np.sin(1.4 * pose.lean), 0.0, np.cos(1.4 * pose.lean)])
    at["head"] = at["collar"] + (0.045 + build.head) * nod
    at["nape"] = at["collar"] + np.array([-0.07, 0.0, 0.0])
    for side, sign, arm in (("left", 1.0, pose.arms[0]), ("right", -1.0, pose.arms[1])):
        swing = -sign * legs * arm.swing
        shoulder = at["collar"] + np.array([0.0, sign * build.shoulder, -0.046])
        elbow = shoulder + _down(arm.forward + pose.lean + swing, arm.out, _UPPER_ARM) * np.array([1.0, sign, 1.0])
        low = arm.forward + swing + max(arm.bend, 0.05) * (1 + 0.5 * swing)
        hand = elbow + _down(low, -arm.across, _FOREARM) * np.array([1.0, sign, 1.0])
        at |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_hand": hand}
    lowest = np.min([at[f"{side}_{end}"][:, 2] for side in ("left", "right") for end in ("heel", "toe")], axis=0)
    lift = np.zeros((length, 3))
    lift[:, 2] = 0.018 - lowest
    return {name: at[name] + lift for name in JOINTS}
