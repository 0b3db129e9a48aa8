"""Adapt a model to footage without labels: rounds of linking tracks, training on the links, and scoring.

A track is one person; people seen at the same time are two (Cinbis, Verbeek and Schmid, ICCV 2011). Across time, tracks
are linked by the model's own confident matches, estimated anew before every round (Fan, Zheng, Yan and Yang, TOMM 2018;
Wu et al., CVPR 2018; Lin et al., AAAI 2019; associations between tracklets: Li, Zhu and Gong, TPAMI 2020). Batch
statistics are those of the footage (Li et al., 2016), and drawn people have forward passes of their own (Chang et al.,
CVPR 2019).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from vreid_jax import data, retrieval
from vreid_jax.adaptation.batches import (
    real_batches,
    scoring_stream,
    statistics_batches,
    synthetic_batches,
    training_clips,
)
from vreid_jax.adaptation.footage import Footage, seen_together, split_held_back, usable
from vreid_jax.adaptation.linking import Relations, relate
from vreid_jax.adaptation.pieces import Pieces
from vreid_jax.adaptation.score import clearly_worse, held_back_ranks
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.adaptation.step import AdaptationState, Streams, make_statistics, make_step, new_state
from vreid_jax.errors import NonFiniteLoss
from vreid_jax.evaluation.features import extract_stream, fuse
from vreid_jax.inference import Model
from vreid_jax.training.optimizers import make_optimizer
from vreid_jax.training.signals import StopRequest

UNTOUCHED = 0  # in place of a round: the model as it was given


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round did.

    Attributes:
      number: from 1; 0 is the model as it was given.
      people: that the tracks to train on were taken for.
      loss: on the footage, mean over the round; NaN before training.
      score: mean reciprocal rank on the tracks that were held back, at most 1.
    """

    number: int
    people: int
    loss: float
    score: float


@dataclasses.dataclass(frozen=True)
class Adapted:
    """The outcome of an adaptation.

    Attributes:
      model: of the last round that was not clearly worse than the model as it was given.
      best: number of that round, 0 for the model as it was given.
      rounds: all, in order.
      tracks: of the footage that were used.
      held_back: how many of them were scored rather than trained on.
      certain: pairs of tracks seen at the same time.
      interrupted: whether a signal ended it.
    """

    model: Model
    best: int
    rounds: tuple[Round, ...]
    tracks: int
    held_back: int
    certain: int
    interrupted: bool


def adapt(
    model: Model,
    footage: Footage,
    settings: AdaptationSettings | None = None,
    *,
    synthetic: data.Tracklets | None = None,
    stop: StopRequest | None = None,
    progress: bool = False,
    tell: Callable[[Round], None] = lambda done: None,
) -> Adapted:
    """Adapt a model to footage; the same seed gives the same model.

    Args:
      model: any model; the one that is returned has its name and fields and other weights.
      footage: tracks, of which those that are too short are left out.
      settings: default: those that docs/adapt.md describes.
      synthetic: labelled people to train on besides.
      stop: a signal ends the adaptation at the next step, with the model of the last round that ended.
      progress: whether to show a bar.
      tell: is called after each round.

    Raises:
      InputError: when the footage has too few tracks.
      NonFiniteLoss: when the loss or the model's vectors are not finite.
    """
    settings = settings or AdaptationSettings()
    stop = stop or StopRequest()
    footage = usable(footage, settings)
    together = seen_together(footage, settings.least_overlap)
    training, held = split_held_back(len(footage), settings.held_back, settings.seed)
    tracklets, known_together = footage.chosen(training).tracklets, together[np.ix_(training, training)]
    frames = statistics_batches(model, tracklets, settings)
    streams = {name: stream.apply for name, stream in model.streams.items()}
    measure = make_statistics(model.network, streams)
    optimizer, step = _make_step(model, streams, settings)
    view = functools.partial(_view, model, Pieces(footage.tracklets, 2), together, settings)

    seen = view(model.variables)
    before = held_back_ranks(seen.first, seen.second, held)
    standing = Standing((Round(UNTOUCHED, len(training), math.nan, float(before.mean())),), UNTOUCHED, model.variables)
    tell(standing.rounds[0])
    variables = {**model.variables, "batch_stats": measure(model.variables, frames)}
    seen = view(variables)
    state = new_state(variables, optimizer)
    total = settings.rounds * settings.steps
    with tqdm(total=total, desc="adapting", unit="step", disable=not progress, leave=False) as bar:
        for number in range(1, settings.rounds + 1):
            relations = seen.relations.of(training)
            real = real_batches(model, tracklets, relations, known_together, settings, number=number)
            drawn = synthetic_batches(model, synthetic, settings, number=number)
            state, loss = _train(step, state, zip(real, drawn, strict=True), stop, bar)
            if stop.number:
                break
            if not math.isfinite(loss):
                raise NonFiniteLoss(
                    f"the loss of round {number} is {loss}: a smaller learning rate is the usual remedy"
                )
            variables = jax.device_get(state.variables)
            variables = {**variables, "batch_stats": measure(variables, frames)}
            seen = view(variables)
            ranks = held_back_ranks(seen.first, seen.second, held)
            done = Round(number, relations.people, loss, float(ranks.mean()))
            worse = clearly_worse(ranks, before)
            standing = standing.after(done, standing.variables if worse else variables, worse)
            tell(done)
            if worse:
                break
    return Adapted(
        model=dataclasses.replace(model, variables=standing.variables),
        best=standing.best,
        rounds=standing.rounds,
        tracks=len(footage),
        held_back=len(held),
        certain=int(np.triu(together).sum()),
        interrupted=bool(stop.number),
    )


@dataclasses.dataclass(frozen=True)
class Standing:
    """The rounds so far, and the last that is kept with its variables."""

    rounds: tuple[Round, ...]
    best: int
    variables: Mapping[str, Any]

    def after(self, done: Round, variables: Mapping[str, Any], worse: bool) -> "Standing":
        """Return the standing after another round, with what is kept after it."""
        return Standing((*self.rounds, done), self.best if worse else done.number, variables)


@dataclasses.dataclass(frozen=True)
class View:
    """How a model sees all tracks: the vectors [N, D], at length 1, of their first and second halves, and who is whom."""

    first: np.ndarray
    second: np.ndarray
    relations: Relations


def _view(
    model: Model, halves: Pieces, together: np.ndarray, settings: AdaptationSettings, variables: Mapping[str, Any]
) -> View:
    found = fuse(
        {
            name: extract_stream(model.network, variables, halves, scoring_stream(stream), model.extraction())
            for name, stream in model.streams.items()
        }
    )
    if not np.isfinite(found).all():
        raise NonFiniteLoss(
            "the model gives vectors that are not finite numbers: it is broken, or the training has diverged, and then a "
            "smaller learning rate is the usual remedy"
        )
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    first, second = found[0::2], found[1::2]
    distances = retrieval.pairwise_distance(first + second, first + second, metric="cosine")
    relations = relate(distances, 1 - (first * second).sum(1), together, settings.false_links)
    return View(first, second, relations)


def _make_step(model: Model, streams: Streams, settings: AdaptationSettings):
    """Return the optimizer and `step(state, real, synthetic)`."""
    phase = settings.phase(next(iter(training_clips(model).values())), 2 * settings.tracks_per_batch)
    optimizer = make_optimizer(phase, settings.rounds * settings.steps)
    step = make_step(
        model.network,
        streams,
        optimizer,
        temperature=settings.temperature,
        synthetic_weight=settings.synthetic_weight,
        decay=settings.average,
    )
    return optimizer, functools.partial(step, np.uint32(settings.seed))


def _train(step, state: AdaptationState, batches, stop: StopRequest, bar) -> tuple[AdaptationState, float]:
    """Return the state after the batches, and the mean loss on the footage."""
    losses = []
    for real, drawn in batches:
        if stop.number:
            break
        state, found = step(state, real, drawn)
        losses.append(found["real"])
        bar.update()
    return state, float(np.mean(jax.device_get(losses))) if losses else math.nan
