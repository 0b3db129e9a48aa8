"""What a run is made of: its settings, its data, its network and its devices. Read here, never written."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vreid_jax import data, evaluation, models, retrieval
from vreid_jax.config import NUM_SPLITS, dataset_of, default_protocols
from vreid_jax.config.run import RunSettings, parse_run
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import ExtractionOptions
from vreid_jax.experiment.initialisation import initial_variables
from vreid_jax.experiment.sources import check_outfits, dataset_builder, training_split
from vreid_jax.experiment.workdir import check_results, check_workdir
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import batch_mesh
from vreid_jax.training.network import Network, normalisation


@dataclasses.dataclass(frozen=True)
class Setup:
    """One configuration in one workdir: what training and evaluation of it share.

    Attributes:
      config: as it was given, and as `config.json` holds it.
      settings: what it says, parsed.
      workdir: folder of the run.
      system: the registry entry of the model.
      network: the model with as many classes as there are identities to train on, and its normalisation.
      mesh: on the axis `data`, as many devices as every batch divides over.
      train_source: the training split.
      test: the test set that is scored, of `evaluation.dataset` where that is given.
      test_dataset: which dataset that is.
      test_split: which of its divisions.
      test_metadata: what the dataset says of itself, e.g. its gait twins.
      protocols: by which it is scored; the first gives the main number.
    """

    config: ConfigDict
    settings: RunSettings
    workdir: Path
    system: models.Entry
    network: Network
    mesh: Mesh
    train_source: data.TrackletSource
    test: evaluation.TestSet
    test_dataset: str
    test_split: int
    test_metadata: dict
    protocols: tuple[str, ...]

    @functools.cached_property
    def num_identities(self) -> int:
        """Identities of the training split."""
        return count_identities(self.train_source)

    @property
    def reads_flow(self) -> bool:
        """Whether a phase or an evaluation stream reads optical flow."""
        applied = [phase.apply for phase in self.settings.phases.values()]
        applied += [stream.apply for stream in self.settings.evaluation.streams.values()]
        return any(models.inputs_of(self.network.module, apply) != "frames" for apply in applied)

    @property
    def extraction(self) -> ExtractionOptions:
        """How features are extracted."""
        return ExtractionOptions(
            size=self.settings.data.size,
            batch_frames=self.settings.evaluation.batch_frames,
            num_threads=self.settings.data.num_threads,
            seed=self.settings.seed,
            shuffle_frames=self.settings.evaluation.shuffle_frames,
            flow=self.settings.data.flow,
            progress=self.settings.logging.progress,
        )

    def clips_of(self, length: int, apply: Mapping[str, Any] | None = None) -> jax.ShapeDtypeStruct:
        """Return the shape of one clip of so many frames, as the network takes it with these keyword arguments."""
        channels = models.channels_of(self.network.module, apply)
        return jax.ShapeDtypeStruct((1, length, *self.settings.data.size, channels), jnp.float32)

    @property
    def longest_clips(self) -> jax.ShapeDtypeStruct:
        """The shape of the longest sample of any phase, or longer, by which the network is initialised."""
        used = max(phase.clip.num_frames for phase in self.settings.phases.values())
        return self.clips_of(models.frames_of(self.network.module, used))

    def new_variables(self) -> dict:
        """Return parameters and batch statistics as they are before any training."""
        # lazy_init computes no forward pass, and this generator compiles four times faster than the default one: with
        # `init` the wait for the first step of a narrow network would be over a minute.
        key = jax.random.key(self.settings.seed, impl="unsafe_rbg")
        return dict(self.network.module.lazy_init(key, self.longest_clips))

    @functools.cached_property
    def abstract_variables(self) -> dict:
        """The shapes of parameters and batch statistics."""
        return dict(jax.eval_shape(self.network.module.init, jax.random.key(0), self.longest_clips))

    def inherited_variables(self, variables: dict, tell: bool = True) -> tuple[dict, list[str]]:
        """Return `variables` with those of `init_from` in their place, and the names of those that are trained already."""
        settings = self.settings
        return initial_variables(
            settings.init_from,
            variables,
            model=settings.model,
            fields=settings.model_fields,
            patterns=settings.init_patterns,
            inflation=settings.inflation,
            tell=tell,
        )


def make_setup(config: ConfigDict, workdir: Path, trains: bool = False) -> Setup:
    """Read all that a run needs; datasets that can be made on the spot are built, the workdir is only looked at.

    With `trains`, a folder of tracklets must not have the same one to train on and to score.

    Raises:
      InputError: for a value that no run can have, a dataset that is not there or cannot be trained on, another division of
        the run's own, or a size of walkers with its people, as `evaluation.dataset`, a workdir of another run, or results of
        another folder that would be replaced.
    """
    settings = parse_run(config)
    check_workdir(workdir, config)
    check_results(workdir, config)
    system = models.entry(settings.model)
    show = settings.logging.progress
    train_source = training_split(config, trains)
    other = settings.evaluation.dataset
    builder: Any = dataset_builder(config, other)  # of TFDS, which has no types
    test_dataset = dataset_of(other) if other else settings.dataset
    test_split = 0
    if test_dataset in NUM_SPLITS:
        test_split = int(builder.builder_config.name.removeprefix("split_"))
    if test_dataset == settings.dataset and test_split != settings.split:
        raise InputError(
            f"evaluation.dataset is {other!r}, split {test_split} of the dataset of which the run trains on split "
            f"{settings.split}: about half of the people to score were trained on; score it on its own split, or on another "
            "dataset"
        )
    if other:
        if test_dataset == settings.dataset == "walkers":
            check_outfits(dataset_builder(config), builder)
        tested = [data.TrackletSource(builder, split, show) for split in ("query", "gallery")]
    else:
        tested = own_test_splits(config)
    if settings.data.validation:
        train_source = held_out(train_source, settings.data.validation, settings.seed)[0]
    fields = dict(settings.model_fields)
    dtype = compute_dtype(settings.dtype, trains=True)
    if "dtype" in system.fields:
        fields["dtype"] = dtype
    module = models.create(settings.model, num_classes=count_identities(train_source), **fields)
    return Setup(
        config=config,
        settings=settings,
        workdir=workdir,
        system=system,
        network=Network(module, **normalisation(settings.data, system)),
        mesh=batch_mesh(phase.batch_size // phase.accumulation_steps for phase in settings.phases.values()),
        train_source=train_source,
        test=evaluation.make_test_set(*tested),
        test_dataset=test_dataset,
        test_split=test_split,
        test_metadata=dict(builder.info.metadata or {}),
        protocols=settings.evaluation.protocols or default_protocols(test_dataset),
    )


def count_identities(source: data.TrackletSource) -> int:
    """Return the number of identities of a split, tracklets without one (pid -1) left out."""
    return len(np.unique(source.pids[source.pids >= 0]))


def own_test_splits(config: ConfigDict) -> list[data.TrackletSource]:
    """Return query and gallery by which a run is scored on its own dataset: with `data.validation`, of held-out people.

    Raises:
      InputError: for a dataset that is not there, and as `held_out`.
    """
    if share := config.data.get("validation", 0.0):
        names = config.evaluation.get("protocols", ()) or default_protocols(config.dataset)
        two_cameras = any(retrieval.protocols.get(name).two_cameras for name in names)
        return list(held_out(training_split(config), share, config.seed, two_cameras)[1:])
    builder = dataset_builder(config)
    return [data.TrackletSource(builder, split, config.logging.progress) for split in ("query", "gallery")]


def held_out(
    source: data.TrackletSource, share: float, seed: int, two_cameras: bool = False
) -> tuple[data.TrackletSource, ...]:
    """Divide a training split: what is left to train on, and query and gallery of the people that are held out.

    Of the people seen by two cameras at least, `share` are drawn, rounded; the first tracklet of each in each camera is
    a query, and all of theirs are the gallery. With `two_cameras`, for protocols that are so, the queries are of the first
    camera and the gallery of the others.

    Raises:
      InputError: where that would leave nobody on one of the sides.
    """
    cameras = {int(pid): np.unique(source.camids[source.pids == pid]) for pid in np.unique(source.pids) if pid >= 0}
    able = np.array([pid for pid, seen in cameras.items() if len(seen) > 1])
    count = round(share * len(able))
    if not 0 < count < len(cameras):
        raise InputError(
            f"data.validation is {share}, which of the {len(able)} training people that two cameras saw holds out {count}, "
            f"of {len(cameras)} in all: there must be people to train on and people to score"
        )
    drawn = np.random.default_rng(seed).choice(able, count, replace=False)
    inside = np.isin(source.pids, drawn)
    rows = np.flatnonzero(inside)
    _, first = np.unique(np.stack([source.pids[rows], source.camids[rows]]), axis=1, return_index=True)
    query, gallery = rows[np.sort(first)], rows
    if two_cameras:
        camera = source.camids[rows].min()
        query, gallery = query[source.camids[query] == camera], gallery[source.camids[gallery] != camera]
    return (
        source.part(np.flatnonzero(~inside), "train"),
        source.part(query, "validation query"),
        source.part(gallery, "validation gallery"),
    )
