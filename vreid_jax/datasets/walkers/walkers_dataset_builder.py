"""TFDS builder of walkers: draws and encodes the tracklets of the plan."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds

from vreid_jax.datasets import example
from vreid_jax.datasets.tracklet_builder import TrackletBuilder, in_hashed_order
from vreid_jax.datasets.walkers.plan import Plan, Size, Tracklet, make_plan
from vreid_jax.datasets.walkers.scene import encoded_tracklet
from vreid_jax.datasets.walkers.wild_plan import WildPlan, WildSize, WildTracklet, make_wild_plan
from vreid_jax.datasets.walkers.wild_scene import encoded_wild_tracklet


@dataclasses.dataclass
class _Config(tfds.core.BuilderConfig):
    """A TFDS config that has a plan and can draw its tracklets."""

    def plan(self) -> Plan | WildPlan:
        """Return the plan of this size."""
        raise NotImplementedError

    def draw(self) -> Callable[[Any], list[bytes]]:
        """Return the function that draws a tracklet of the plan, as encoded frames."""
        raise NotImplementedError


@dataclasses.dataclass
class WalkersConfig(_Config):
    """Pedestrians with gait twins."""

    size: Size = dataclasses.field(default_factory=Size)

    def plan(self) -> Plan:
        """Return the plan of this size."""
        return make_plan(self.size)

    def draw(self) -> Callable[[Tracklet], list[bytes]]:
        """Return the function that draws a tracklet of the plan, as encoded frames."""
        return functools.partial(encoded_tracklet, self.plan())


@dataclasses.dataclass
class WildConfig(_Config):
    """People who look like those on a street, without gait twins."""

    size: WildSize = dataclasses.field(default_factory=WildSize)

    def plan(self) -> WildPlan:
        """Return the plan of this size."""
        return make_wild_plan(self.size)

    def draw(self) -> Callable[[WildTracklet], list[bytes]]:
        """Return the function that draws a tracklet of the plan, as encoded frames."""
        return functools.partial(encoded_wild_tracklet, self.plan())


CONFIGS = {
    "tiny": Size(
        train_identities=16,
        test_identities=8,
        cameras=3,
        cameras_per_identity=(2, 3),
        gaits_per_outfit=4,
        distractors=3,
        junk=2,
        shortest=4,
        typical=8,
        longest=16,
    ),
    "small": Size(train_identities=256, train_per_camera=3),
    "gaits": Size(train_identities=96, train_twin_share=1.0, gaits_per_outfit=8, train_per_camera=30),
    "demo": Size(train_identities=96, train_twin_share=1.0, gaits_per_outfit=4, train_per_camera=15),
    "jitter": Size(train_identities=256, train_per_camera=3, box_jitter=3.0),
    "bench": Size(
        height=256, width=128, train_identities=256, test_identities=128, train_per_camera=2, test_per_camera=2, distractors=64, junk=32,
        typical=26, longest=96,
    ),
    "mars_scale": Size(
        train_identities=625,
        test_identities=634,
        cameras_per_identity=(2, 4),
        train_tracklets=8298,
        test_tracklets=12180,
        distractors=3248,
        junk=870,
        shortest=2,
        typical=48,
        longest=920,
    ),
}  # fmt: skip
_DESCRIPTIONS = {
    "tiny": "For unit tests: 64x32, built in a second or two.",
    "small": "The default of most systems: 64x32, trained on a CPU in minutes.",
    "gaits": "For learning dynamics: 64x32, twelve outfits worn by eight people each, many tracklets per person.",
    "demo": "For appearance and dynamics at once, in minutes: 64x32, 24 outfits worn by four people each.",
    "jitter": "The people, cameras and walks of small, with boxes that are three times as far off.",
    "bench": "For comparing systems: 256x128.",
    "mars_scale": "For load tests: 64x32, as many tracklets as MARS, and as long.",
}
_VERSIONS = {"mars_scale": "1.1.0"}  # of sizes that changed on their own


class Builder(TrackletBuilder):
    """Synthetic articulated pedestrians with gait twins."""

    DEFAULT_BUILDER_CONFIG_NAME = "small"
    # Whoever changes what is drawn or planned raises the version; otherwise copies built earlier would pass for it.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012
    BUILDER_CONFIGS = [
        WalkersConfig(name=name, version=_VERSIONS.get(name), description=_DESCRIPTIONS[name], size=size)
        for name, size in CONFIGS.items()
    ] + [
        WildConfig(
            name="wild",
            description="For models that must meet real people: 128x64, 3,200 people, a background for every frame.",
        )
    ]

    @property
    def plan(self) -> Plan | WildPlan:
        """The plan of this size: identities, cameras and tracklets."""
        return self._config.plan()

    @property
    def _config(self) -> _Config:
        config = self.builder_config
        assert isinstance(config, _Config)  # of BUILDER_CONFIGS
        return config

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=example.features(),
            metadata=tfds.core.MetadataDict(twins=[list(pair) for pair in self.plan.twins]),
        )

    def _split_generators(self, dl_manager):
        plan = self.plan
        return {
            "train": self._generate_examples("train", plan.train),
            "query": self._generate_examples("query", plan.query),
            "gallery": self._generate_examples("gallery", plan.test),
        }

    def _generate_examples(
        self, split: str, tracklets: tuple[Tracklet | WildTracklet, ...]
    ) -> Iterator[tuple[str, dict]]:
        ordered = in_hashed_order(tracklets, [tracklet.tracklet_id for tracklet in tracklets], split)
        drawn = self._in_order(self._config.draw(), ordered)
        return self._examples(ordered, drawn, f"walkers/{self.info.config_name} {split}")
