"""A whole run: data, model, phases, evaluation; what the command line, the tests and the notebooks call."""

import contextlib
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from vreid_jax import data, evaluation, models
from vreid_jax.config import dataset_of, default_protocols
from vreid_jax.config.checks import check_patterns, check_values, error_context
from vreid_jax.errors import InputError
from vreid_jax.evaluation import features as extraction
from vreid_jax.evaluation.metric import check_metric
from vreid_jax.evaluation.pair_distances import check_similarity
from vreid_jax.experiment.initialisation import initial_variables, keep
from vreid_jax.experiment.phase_data import PhaseData, frames_of
from vreid_jax.experiment.results import Results, file_suffix
from vreid_jax.experiment.scoring import score_run
from vreid_jax.experiment.sources import dataset_builder
from vreid_jax.experiment.splits import run_all_splits
from vreid_jax.experiment.workdir import check_workdir, only_trainer, open_workdir
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import make_mesh, replicate
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.loop import phase_length, run_phase, stopped
from vreid_jax.training.metrics import MetricsWriter
from vreid_jax.training.network import Network, normalisation
from vreid_jax.training.objective import memories
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.position import Position
from vreid_jax.training.signals import Interrupted, StopRequest, stop_requests
from vreid_jax.training.state import TrainState, split_params
from vreid_jax.training.step import make_train_step

BASELINES = ("untrained", "color_histogram")
MODES = ("train_and_evaluate", "train", "evaluate")


def train_and_evaluate(config: ConfigDict, workdir: str | Path, mode: str = "train_and_evaluate") -> Results | None:
    """Run a configuration in `workdir`: build or find the data, train what is left to train, evaluate.

    An empty or new folder is a new run; one with a checkpoint is resumed; a finished one is evaluated again. With
    `split` "all" every split is such a run in a folder of its own, and the results are means over them.

    Args:
      config: a configuration as `get_config` of a file in `configs/` returns it.
      workdir: gets `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/`, `features/`, `results.json`.
      mode: `train_and_evaluate`, `train` (returns nothing) or `evaluate` (needs a checkpoint).

    Returns:
      The results, also in `results.json`.

    Raises:
      InputError: for anything the user can mend, before any training.
      NonFiniteLoss: when the loss is no number any more.
      Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; it is one of {', '.join(MODES)}")
    workdir = Path(workdir).expanduser()
    if config.split == "all":
        return run_all_splits(config, workdir, mode, _run_one)
    return _run_one(config, workdir, mode)


def _run_one(config: ConfigDict, workdir: Path, mode: str) -> Results | None:
    run = Run(config, workdir, mode)
    trains = mode != "evaluate"
    alone = only_trainer(workdir) if trains and jax.process_index() == 0 else contextlib.nullcontext()
    with alone, stop_requests() as stop:
        if trains:
            run.check_place()
        if trains or not run.suffix:  # a control, or another dataset, leaves the run as it is
            open_workdir(workdir, config)
        state, place = run.train(stop) if trains else run.restored()
        if stopped(stop):  # a signal between the last step and here
            raise Interrupted("stopped; nothing is lost: run the same command again to go on", stop.number or 15)
    return None if mode == "train" else run.evaluate(state, place)


class Run:
    """One configuration in one workdir: what training and evaluation of it share."""

    def __init__(self, config: ConfigDict, workdir: Path, mode: str):
        self.config, self.workdir = config, workdir
        if mode == "evaluate" and not (workdir / "checkpoints").is_dir():
            raise InputError(f"workdir {workdir} holds no checkpoint to evaluate; train first")
        check_values(config)
        self.entry = models.entry(config.model.name)
        check_workdir(workdir, config)
        show = config.logging.progress
        self.train_source = data.TrackletSource(dataset_builder(config), "train", show)
        # The one that the scores are of.
        self.builder = dataset_builder(config, config.evaluation.dataset)
        self.test_dataset = dataset_of(config.evaluation.dataset) if config.evaluation.dataset else config.dataset
        self.test = evaluation.make_test_set(
            *(data.TrackletSource(self.builder, s, show) for s in ("query", "gallery"))
        )
        self.protocols = tuple(config.evaluation.protocols) or default_protocols(self.test_dataset)
        fields = {k: v for k, v in config.model.items() if k != "name"}
        dtype = compute_dtype(config.dtype)
        if "dtype" in self.entry.fields:
            fields["dtype"] = dtype
        self.num_identities = len(np.unique(self.train_source.pids[self.train_source.pids >= 0]))
        self.module = models.create(config.model.name, num_classes=self.num_identities, **fields)
        self.mesh = make_mesh()
        self.seeds = {name: phase_seed(config.seed, name) for name in config.phase_order}
        self.lengths, self.steps = {}, {}
        for name in config.phase_order:
            with error_context(name):
                phase = config.phases[name]
                self.lengths[name] = phase_length(phase, data.num_batches_per_epoch(self.train_source, phase))
                self.steps[name] = self._train_step(name)
        self._check(mode)

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """Those of the workdir, which becomes a run's folder by them: not before it is known to be this run's alone."""
        return Checkpoints(self.workdir, self.config.checkpoint.keep)

    def _check(self, mode: str) -> None:
        """Find everything that can be wrong with a phase or the evaluation before the first phase starts."""
        for name in self.config.evaluation.baselines:
            if name not in BASELINES:
                raise InputError(f"evaluation.baselines names {name!r}; they are {' and '.join(BASELINES)}")
        for name in self.protocols:
            evaluation.select(self.test, name)
            if mode != "train":
                evaluation.check_answerable(self.test, name)
        for name in self.config.evaluation.selections:
            evaluation.parse_selection(name)
        check_metric(self.config.evaluation.metric, self.train_source.pids, self.train_source.camids)
        for name in self.config.phase_order:
            with error_context(name):
                data.check_clip(self.config.phases[name])
        for stream in self.config.evaluation.streams.values():
            extraction.check_clips(stream)
        variables = self._abstract_init()
        for stream in self.config.evaluation.streams.values():
            clips = jax.ShapeDtypeStruct((1, stream.clip.length, *self._clip_shape().shape[2:]), jnp.float32)
            apply = functools.partial(self.module.apply, train=False, **stream.apply.to_dict())
            feature = jax.eval_shape(apply, variables, clips)["feature"]
            if not stream.average:
                pairs = (1, stream.clip.num_clips, feature.shape[-1])
                check_similarity(self.module, variables, pairs, self.config, self.entry.similarity)
        if mode == "evaluate":
            return
        if self.config.init_from and not (self.workdir / "config.json").exists():
            initial_variables(self.config, variables, tell=False)
        names = flatten_dict(variables["params"], sep="/")
        for name in self.config.phase_order:
            with error_context(name):
                check_patterns(self.config.phases[name], names)
                # This trace is not lost: the first step of the phase finds it.
                state = jax.eval_shape(functools.partial(self._new_state, name), variables)
                batch, cache = self._phase_data(name).abstract(self.module, variables)
                with contextlib.suppress(KeyError if self.entry.update else ()):  # it reads what `prepare` is to add
                    self.steps[name].eval_shape(state.replace(extra={**state.extra, **cache}), batch)

    def train(self, stop: StopRequest) -> tuple[TrainState, Position]:
        """Do what is left of the phases."""
        config = self.config
        order = list(config.phase_order)
        state, place = self.restored() if self.checkpoints.latest() is not None else (None, None)
        writer = MetricsWriter(self.workdir, place.step if place else 0, config.logging.tensorboard)
        try:
            for name in order[order.index(place.phase) if place else 0 :]:
                total = self.lengths[name]
                if place is None or place.phase != name:
                    state, place = self._begin_phase(name, state, place)
                if place.phase_step >= total:
                    continue
                batches = self._batches(name, total)
                if place.iterator is not None:
                    batches.set_state(place.iterator)
                state, place = run_phase(
                    state,
                    place,
                    self.steps[name],
                    batches,
                    total,
                    mesh=self.mesh,
                    checkpoints=self.checkpoints,
                    writer=writer,
                    config=config,
                    stop=stop,
                )
            return state, place
        finally:
            writer.close()
            self.checkpoints.wait()  # Orbax cannot finish a save once the interpreter is leaving

    def restored(self) -> tuple[TrainState, Position]:
        """Read the newest checkpoint."""
        step = self.checkpoints.latest()
        if step is None:
            raise InputError(f"workdir {self.workdir} holds no complete checkpoint; train first")
        place = self._place(step)
        like = jax.eval_shape(lambda v: self._new_state(place.phase, v), self._abstract_init())
        like = like.replace(extra={**self.checkpoints.extra(step), **like.extra})
        sharding = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
        return self.checkpoints.restore(step, like), place

    def _place(self, step: int) -> Position:
        try:
            place = Position(**self.checkpoints.place(step))
        except TypeError as error:  # it says more or less about a place than this version does
            raise InputError(
                f"checkpoint {step} of workdir {self.workdir} was written by another version of vreid_jax; go on with that "
                "version, or train in another workdir with init_from naming this one"
            ) from error
        if place.phase not in self.lengths:
            raise InputError(f"the checkpoint is of phase {place.phase!r}, which phase_order does not name")
        return place

    def check_place(self) -> None:
        """Raise `InputError` where training cannot go on from the newest checkpoint; nothing of the run has changed yet."""
        if not (self.workdir / "checkpoints").is_dir() or (step := self.checkpoints.latest()) is None:
            return
        place = self._place(step)
        order, length = list(self.config.phase_order), self.lengths[place.phase]
        done = sum(self.lengths[name] for name in order[: order.index(place.phase)])
        if place.steps_before != done:
            raise InputError(
                f"the phases before {place.phase} were finished with {place.steps_before} steps and now have {done}: "
                "only the length of the phase that is trained, or of a later one, can change"
            )
        if place.phase_step > length:
            raise InputError(
                f"phase {place.phase} has done {place.phase_step} steps already, and is to have {length}: it can only "
                "become longer"
            )
        if place.training_set not in ("", self.train_source.digest()):
            raise InputError(
                f"the training split of {self.config.data.path or self.config.data.name} is another one than this run "
                "began with: give it back its tracklets, or start a new workdir with --config.init_from=THIS_ONE"
            )

    def evaluate(self, state: TrainState, place: Position) -> Results:
        """Score the state and the baselines; see `score_run`."""
        return score_run(self, state, place)

    @property
    def suffix(self) -> str:
        """What the names of files of this evaluation end in."""
        return file_suffix(self.config.evaluation)

    def new_variables(self):
        """Parameters and batch statistics as they are before any training."""
        # lazy_init computes no forward pass, and this generator compiles four times faster than the default one: with
        # `init` the wait for the first step of a narrow network would be over a minute.
        key = jax.random.key(self.config.seed, impl="unsafe_rbg")
        return dict(self.module.lazy_init(key, self._clip_shape()))

    def _abstract_init(self):
        return dict(jax.eval_shape(self.module.init, jax.random.key(0), self._clip_shape()))

    def _clip_shape(self, length: int = 0) -> jax.ShapeDtypeStruct:
        length = length or max(frames_of(phase) for phase in self.config.phases.values())
        return jax.ShapeDtypeStruct((1, length, self.config.data.height, self.config.data.width, 3), jnp.float32)

    def _new_state(self, name: str, variables, extra=None) -> TrainState:
        phase = self.config.phases[name]
        trainable, _ = split_params(variables["params"], phase.train)
        optimizer = make_optimizer(phase, self.lengths[name])
        apply = functools.partial(self.module.apply, train=False, **phase.apply.to_dict())
        feature = jax.eval_shape(apply, variables, self._clip_shape(frames_of(phase)))["feature"]
        unlabelled = bool((self.train_source.pids < 0).any())
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(trainable),
            extra=memories(phase.losses, feature.shape[-1], self.num_identities, unlabelled, extra or {}),
            network=Network(self.module, **normalisation(self.config.data, self.entry)),
        )

    def _begin_phase(self, name: str, state: TrainState | None, place: Position | None) -> tuple[TrainState, Position]:
        before = place or Position(name, 0, 0, 0.0, None)
        if state is None:
            variables = self.new_variables()
            if self.config.init_from:
                variables, before.inherited = initial_variables(self.config, variables)
            state = self._new_state(name, variables)
        if self.entry.prepare:
            state = keep(before.inherited, state, self.entry.prepare(name, state, self._phase_data(name)))
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        state = replicate(self._new_state(name, variables, state.extra), self.mesh)
        place = dataclasses.replace(
            before,
            phase=name,
            phase_step=0,
            steps_before=before.step,
            iterator=None,
            training_set=self.train_source.digest(),
        )
        return state, place

    def _phase_data(self, name: str) -> PhaseData:
        return PhaseData(
            self.config.phases[name], self.config, self.train_source, lambda count: self._batches(name, count)
        )

    def _batches(self, name: str, count: int):
        return data.train_batches(
            self.train_source,
            self.config.phases[name],
            size=(self.config.data.height, self.config.data.width),
            seed=self.seeds[name],
            num_batches=count,
            num_threads=self.config.data.num_threads,
            shard=(jax.process_index(), jax.process_count()),
        )

    def _train_step(self, name: str):
        phase = self.config.phases[name]
        return make_train_step(
            self.module,
            phase,
            make_optimizer(phase, self.lengths[name]),
            self.mesh,
            **normalisation(self.config.data, self.entry),
            seed=self.seeds[name],
            update=self.entry.update,
        )


def phase_seed(seed: int, phase: str) -> int:
    """Seed of a phase's batches and dropout, from the run's seed and the phase's name, wherever it stands."""
    return int(np.random.SeedSequence([seed, *phase.encode()]).generate_state(1)[0] >> 1)  # 31 bits: JAX's int32
