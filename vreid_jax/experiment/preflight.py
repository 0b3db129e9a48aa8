"""Everything that can be wrong with a run, found before its first step and before anything is written."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec

from vreid_jax import data, evaluation, models, retrieval
from vreid_jax.config.checks import check_patterns, error_context
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import check_clips
from vreid_jax.evaluation.metric import check_metric
from vreid_jax.evaluation.pair_distances import check_similarity
from vreid_jax.experiment.initialisation import check_source, source_of
from vreid_jax.experiment.phases import Plan, new_state, phase_data
from vreid_jax.experiment.setup import Setup
from vreid_jax.models.inheritance import inherited_at, not_begun
from vreid_jax.models.layers.inflation import check_inflation
from vreid_jax.runtime.mesh import abstract_on
from vreid_jax.settings import check_arguments
from vreid_jax.training.checkpoints import FOLDER, newest_place
from vreid_jax.training.position import Position

_NOT_GIVEN = ("clips", "train")  # arguments of a module that the run itself gives


def check_evaluation(setup: Setup, scores: bool = True) -> None:
    """Raise `InputError` for anything in the evaluation that cannot be done.

    With `scores`, of a run that is scored now, also where a protocol leaves no query that could be answered, and for a
    similarity that nothing has trained.
    """
    settings = setup.settings.evaluation
    if setup.settings.data.validation and setup.reads_flow:
        raise InputError(
            "data.validation is for networks without optical flow, which is kept for whole splits; set it to 0"
        )
    for name in setup.protocols:
        query, gallery = evaluation.select(setup.test, name)
        if settings.rerank:
            sides = setup.test.query.tracklet_ids[query], setup.test.gallery.tracklet_ids[gallery]
            retrieval.protocols.query_index(*sides)
        if scores:
            evaluation.check_answerable(setup.test, name)
    for name in settings.selections:
        evaluation.parse_selection(name)
    check_metric(settings.metric, setup.train_source.pids, setup.train_source.camids)
    if settings.shortlist and all(stream.average for stream in settings.streams.values()):
        raise InputError(
            f"evaluation.shortlist is {settings.shortlist}; it is for a system that compares sets of clips, in a stream "
            "with average = False"
        )
    variables = setup.abstract_variables
    module = setup.network.module
    if setup.system.similarity:
        check_arguments(
            setup.system.similarity, settings.similarity, "evaluation.similarity", ("self", "query", "gallery")
        )
    if scores:
        _check_scored(setup)
    for name, stream in settings.streams.items():
        check_clips(stream)
        check_arguments(module.__call__, stream.apply, f"evaluation.streams.{name}.apply", _NOT_GIVEN)
        apply = functools.partial(module.apply, train=False, **stream.apply)
        outputs = jax.eval_shape(apply, variables, setup.clips_of(stream.clip.length, stream.apply))
        if "feature" not in outputs:
            raise InputError(f"model {setup.settings.model} gives no feature, the vector that retrieval compares")
        if not stream.average:
            tracklet = (1, stream.clip.num_clips, outputs["feature"].shape[-1])
            check_similarity(module, variables, tracklet, settings, setup.system.similarity)


def check_reached(setup: Setup, position: Position) -> str:
    """Return in a sentence what a stopped run still has to train, "" for a finished one, before it is scored as it is.

    Raises:
      InputError: where it would be scored by what only a phase that has not begun trains.
    """
    settings, order = setup.settings, list(setup.settings.phases)
    if position.phase not in order:
        return ""
    later = order[order.index(position.phase) + 1 :]
    phase = settings.phases[position.phase]
    total = phase.length(data.num_batches_per_epoch(setup.train_source, phase))
    if not later and position.phase_step >= total:
        return ""
    stopped = f"the run was stopped in its phase {position.phase!r}, after {position.phase_step} of {total} steps"
    if later:
        stopped += f", before {', '.join(map(repr, later))}"
    parts: dict[str, str] = {}
    for stream in settings.evaluation.streams.values():
        parts |= models.trained_parts(setup.network.module, stream.apply)
    if missing := not_begun(parts, later, position.inherited):
        raise InputError(
            f"{stopped}: the evaluation would score the part {missing[0]!r} of the network untrained; {_go_on(setup)}"
        )
    phases = {name: settings.phases[name] for name in order if name not in later}
    try:
        _check_scored(dataclasses.replace(setup, settings=dataclasses.replace(settings, phases=phases)))
    except InputError as error:  # with all of its phases the run was not refused
        raise InputError(
            f"{stopped}: the evaluation would compare by what only a later one trains; {_go_on(setup)}"
        ) from error
    return stopped


def _go_on(setup: Setup) -> str:
    return f"go on with the training first, by the command that began it in {setup.workdir}"


def _check_scored(setup: Setup) -> None:
    """Raise `InputError` for a similarity of a part that neither this run trains nor the one that it starts from did."""
    if not setup.system.similarity:
        return
    settings, source = setup.settings, {}
    begun = (setup.workdir / FOLDER).is_dir()
    # Opening checkpoints is a collective operation, and process 0 may make the folder meanwhile.
    if jax.process_count() > 1:
        begun = bool(multihost_utils.broadcast_one_to_all(np.bool_(begun)))
    if begun and (place := newest_place(setup.workdir)):
        kept = inherited_at(place) or ()
    else:
        kept = setup.inherited_variables(setup.abstract_variables, tell=False)[1] if settings.init_from else ()
    with contextlib.suppress(InputError):  # what it started from may be gone by now
        source = source_of(settings.init_from) if kept else {}
    models.check_scored(setup.network.module, settings, kept, source)


def check_training(setup: Setup, plans: dict[str, Plan]) -> None:
    """Raise `InputError` for anything in the phases that cannot be trained."""
    settings = setup.settings
    if wrong := next((sign for sign in "[\\" if sign in str(setup.workdir.absolute())), ""):
        raise InputError(  # it takes them for a pattern and a slash
            f"the path of workdir {setup.workdir} holds {wrong!r}: Orbax could not read back the checkpoints that it saves "
            "there; train in another one"
        )
    check_inflation(settings.inflation)
    if settings.data.path and "folder" not in (settings.dataset, settings.evaluation.dataset):
        raise InputError(
            f"data.path is {settings.data.path!r}, which dataset {settings.dataset} does not read: to train on these "
            "pictures, name the dataset folder behind the configuration, as in --config=m3d:folder,path=PICTURES"
        )
    variables = setup.abstract_variables
    if not (setup.workdir / "config.json").exists():  # a run that goes on is as it began
        kept = setup.inherited_variables(variables, tell=False)[1] if settings.init_from else ()
        source = source_of(settings.init_from)
        check_source(settings.init_from, source, setup.network)
        models.check_run(setup.network.module, settings, kept, source)
    names = flatten_dict(variables["params"], sep="/")
    for name, plan in plans.items():
        with error_context(name):
            data.check_clip(plan.phase)
            check_arguments(setup.network.module.__call__, plan.phase.apply, "apply", _NOT_GIVEN)
            models.check_clip(setup.network.module, plan.phase.clip.length, plan.phase.apply)
            check_patterns(plan.phase, names)
            state = jax.eval_shape(functools.partial(new_state, setup, plan), variables)
            batch, cache = phase_data(setup, plan).abstract(setup.network.module, variables)
            state = state.replace(extra={**state.extra, **cache})
            # This trace is not lost: the first step of the phase finds it, since all lies where it will lie then.
            placed = (
                abstract_on(state, setup.mesh, PartitionSpec()),
                abstract_on(batch, setup.mesh, PartitionSpec("data")),
            )
            unknown_yet = (KeyError,) if setup.system.update else ()  # it reads what `prepare` is to add
            with contextlib.suppress(*unknown_yet):
                plan.step.eval_shape(plan.seed, *placed)
