"""The plan of walkers/wild, before anything is drawn: identities, their tracklets and cameras."""

import dataclasses
import functools

import numpy as np

from vreid_jax.datasets.walkers import wild_cameras

_IDENTITY = 227  # number of the identities' random generators


@dataclasses.dataclass(frozen=True)
class WildSize:
    """The size of the dataset: picture size in pixels, and numbers of things."""

    height: int = 128
    width: int = 64
    train_identities: int = 3000
    test_identities: int = 200
    tracklets_per_identity: int = 4
    frames: int = 8
    scenes: int = 400  # different backgrounds, of which every frame shows a part
    strangers: int = 300  # different people who stand in front or behind
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class WildTracklet:
    """One tracklet to draw; (seed, pid, number) determines every pixel."""

    split: str
    pid: int
    number: int
    camid: int

    @property
    def tracklet_id(self) -> str:
        """The id, unique in the dataset and the same in query and gallery."""
        return f"{self.split}/{self.pid:05d}_{self.number}"


@dataclasses.dataclass(frozen=True)
class WildPlan:
    """The tracklets of both splits; every test tracklet is a query and in the gallery."""

    size: WildSize
    train: tuple[WildTracklet, ...]
    test: tuple[WildTracklet, ...]
    twins: tuple[tuple[int, ...], ...] = ()

    @property
    def query(self) -> tuple[WildTracklet, ...]:
        """The tracklets to search for, each from a camera of its own."""
        return self.test


@functools.lru_cache(maxsize=4)
def make_wild_plan(size: WildSize) -> WildPlan:
    """Return everything about the dataset except its pixels; a pure function of `size`."""
    splits: dict[str, list[WildTracklet]] = {"train": [], "test": []}
    for pid in range(1, size.train_identities + size.test_identities + 1):
        split = "train" if pid <= size.train_identities else "test"
        rng = np.random.default_rng([size.seed, _IDENTITY, pid])
        cameras = rng.choice(wild_cameras.COUNT, size.tracklets_per_identity, replace=False) + 1
        splits[split] += [WildTracklet(split, pid, n, int(camid)) for n, camid in enumerate(cameras)]
    return WildPlan(size, tuple(splits["train"]), tuple(splits["test"]))
