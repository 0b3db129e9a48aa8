"""The plan of a walkers dataset, before anything is drawn: identities, gait twins, cameras and tracklets."""

import dataclasses
import functools

import numpy as np

from vreid_jax.datasets.walkers import people

# Every thing drawn has a random generator of its own, so that no draw disturbs another.
_OUTFIT, _GAIT, _IDENTITY, _LENGTH, _TRACKLET, _EXTRA = range(6)


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a dataset: picture size in pixels, numbers of identities and tracklets, lengths in frames."""

    height: int = 64
    width: int = 32
    train_identities: int = 128
    test_identities: int = 64
    cameras: int = 6
    cameras_per_identity: tuple[int, int] = (3, 4)
    train_tracklets: int = 0  # 0: one to `train_per_camera` for every identity and camera
    test_tracklets: int = 0
    train_per_camera: int = 1
    gaits_per_outfit: int = 2  # of the twins in the training split
    train_twin_share: float = 0.5  # of the training identities; among the test identities it is one half
    test_per_camera: int = 1
    distractors: int = 32
    junk: int = 16
    shortest: int = 8
    typical: int = 18  # median length
    longest: int = 48
    box_jitter: float = 1.0  # error of the boxes, as a multiple of the usual one
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Tracklet:
    """One tracklet to draw. `split` is train or test; (seed, split, index) determines every pixel."""

    split: str
    index: int
    pid: int
    camid: int
    length: int
    outfit: int  # number of the clothes, build and posture; equal in gait twins
    occluded: bool
    crossed: bool
    lost: bool
    in_query: bool = False

    @property
    def tracklet_id(self) -> str:
        """The id, unique in the dataset and the same in query and gallery."""
        return f"{self.split}/{self.index:05d}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tracklets of both splits, the gait of every pid and the pairs of gait twins among the test identities."""

    size: Size
    train: tuple[Tracklet, ...]
    test: tuple[Tracklet, ...]
    gaits: dict[int, people.Gait]
    twins: tuple[tuple[int, ...], ...]
    twin_groups: tuple[tuple[int, ...], ...]  # of the training split

    @property
    def query(self) -> tuple[Tracklet, ...]:
        """One test tracklet for each identity and camera, all of them also in the gallery."""
        return tuple(t for t in self.test if t.in_query)


def stream(seed: int, kind: int, *index: int) -> np.random.Generator:
    """Return the random generator of one thing."""
    return np.random.default_rng([seed, kind, *index])


def tracklet_stream(seed: int, tracklet: Tracklet) -> np.random.Generator:
    """Return the random generator that draws one tracklet."""
    return stream(seed, _TRACKLET, tracklet.split == "test", tracklet.index)


@functools.lru_cache(maxsize=4096)
def outfit_and_body(seed: int, outfit: int) -> tuple[people.Outfit, people.Body]:
    """Return clothes, build and posture number `outfit`."""
    rng = stream(seed, _OUTFIT, outfit)
    return people.sample_outfit(rng), people.sample_body(rng)


def _groups(count: int, size: int, share: float) -> list[int]:
    """Return the sizes of the outfit groups of `count` identities: a share in groups of `size` twins, the others alone."""
    groups = int(share * count) // size
    return [size] * groups + [1] * (count - groups * size)


def _length(rng: np.random.Generator, size: Size) -> int:
    """Draw a length: log-normal with a long tail, as in MARS."""
    return int(np.clip(np.rint(size.typical * np.exp(0.62 * rng.standard_normal())), size.shortest, size.longest))


def _camera_counts(rng: np.random.Generator, size: Size, tracklets: int, per_camera: int) -> list[int]:
    """Draw the cameras (from 1) that see an identity, one entry per tracklet; a group of twins shares them."""
    low, high = size.cameras_per_identity
    seen = rng.permutation(size.cameras)[: rng.integers(low, min(high, size.cameras) + 1)] + 1
    if not tracklets:
        return [int(c) for c in seen for _ in range(rng.integers(1, per_camera + 1))]
    return [int(seen[i % len(seen)]) for i in range(tracklets)]


def _events(rng: np.random.Generator) -> dict[str, bool]:
    occluded, crossed, lost = rng.random(3) < (0.15, 0.12, 0.08)
    return {"occluded": bool(occluded), "crossed": bool(crossed), "lost": bool(lost)}


@functools.lru_cache(maxsize=8)
def make_plan(size: Size) -> Plan:
    """Return everything about a walkers dataset except its pixels; a pure function of `size`."""
    gaits: dict[int, people.Gait] = {}
    splits: dict[str, list[Tracklet]] = {"train": [], "test": []}
    twin_groups: dict[str, list[tuple[int, ...]]] = {"train": [], "test": []}
    next_pid, outfit = 1, 0
    for split, identities, group, twin_share, total, per_camera in (
        (
            "train",
            size.train_identities,
            size.gaits_per_outfit,
            size.train_twin_share,
            size.train_tracklets,
            size.train_per_camera,
        ),
        (
            "test",
            size.test_identities,
            2,
            0.5,
            max(size.test_tracklets - size.distractors - size.junk, 0),
            size.test_per_camera,
        ),
    ):
        done = 0
        for members in _groups(identities, group, twin_share):
            rng = stream(size.seed, _IDENTITY, outfit)
            # A total is divided evenly; twins get the same number and the same cameras.
            share = total // identities if total else 0
            cameras = _camera_counts(rng, size, share, per_camera)
            gait_rng = stream(size.seed, _GAIT, outfit)
            twins = members > 1
            pids = tuple(range(next_pid, next_pid + members))
            next_pid += members
            own_gaits = people.sample_twin_gaits(gait_rng, members) if twins else [people.sample_gait(gait_rng)]
            for pid, gait in zip(pids, own_gaits, strict=True):
                gaits[pid] = gait
                asked = set()
                for camid in cameras:
                    index = len(splits[split])
                    own = stream(size.seed, _LENGTH, split == "test", index)
                    in_query = split == "test" and camid not in asked
                    asked.add(camid)
                    splits[split].append(
                        Tracklet(
                            split, index, pid, camid, _length(own, size), outfit, **_events(own), in_query=in_query
                        )
                    )
                done += len(cameras)
            if twins:
                twin_groups[split].append(pids)
            outfit += 1
        _fill(splits[split], split, total - done, size)
    for pid_kind, count in ((0, size.distractors), (-1, size.junk)):
        for _ in range(count):
            index = len(splits["test"])
            own = stream(size.seed, _EXTRA, index)
            camid = int(own.integers(1, size.cameras + 1))
            outfit += 1
            splits["test"].append(Tracklet("test", index, pid_kind, camid, _length(own, size), outfit, **_events(own)))
    return Plan(
        size,
        tuple(splits["train"]),
        tuple(splits["test"]),
        gaits,
        tuple(twin_groups["test"]),
        tuple(twin_groups["train"]),
    )


def _fill(tracklets: list[Tracklet], split: str, missing: int, size: Size) -> None:
    """Add tracklets to identities without twins (the last ones) until the requested total is reached."""
    template = tracklets[::-1]
    for i in range(max(missing, 0)):
        index = len(tracklets)
        own = stream(size.seed, _LENGTH, split == "test", index)
        like = template[i % len(template)]
        tracklets.append(
            dataclasses.replace(like, index=index, length=_length(own, size), in_query=False, **_events(own))
        )
