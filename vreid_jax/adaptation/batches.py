"""The batches of an adaptation: clips of real tracks with what is known of their pairs, and labelled drawn people."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vreid_jax import data, models
from vreid_jax.adaptation.linking import Relations
from vreid_jax.adaptation.pieces import Pieces, TogetherSampler, pair_masks
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.config.phases import Clip
from vreid_jax.config.run import Stream
from vreid_jax.data.clips import TRAIN_KINDS
from vreid_jax.inference import Model
from vreid_jax.settings import Group

STATISTICS_BATCHES = 8
FRAMES_OF_A_HALF = 16  # that are embedded, about


def training_clips(model: Model) -> dict[str, Clip]:
    """Return for each stream of a model how clips were drawn that trained it, or as at test where that is not known."""
    phases = model.config.get("phases") or {}
    return {name: _training_clip(stream, phases) for name, stream in model.streams.items()}


def _training_clip(stream: Stream, phases: Group) -> Clip:
    for phase in reversed(list(phases.values())):
        clip = phase.clip
        if dict(phase.apply) == dict(stream.apply) and clip.num_clips == 1 and clip.kind in TRAIN_KINDS:
            return Clip(clip.kind, clip.length, clip.stride, num_clips=1, corrupt=0)
    clip = stream.clip
    kind = (
        "strided" if clip.stride > 1 and clip.kind != "sliding" else "consecutive"
    )  # the stride of "sliding" is another
    return Clip(kind, clip.length, clip.stride, num_clips=1, corrupt=0)


def scoring_stream(stream: Stream) -> Stream:
    """Return a stream with clips spread over a piece of a track, a few frames whatever its length."""
    stride = 1 if stream.clip.kind == "sliding" else stream.clip.stride
    clips = max(1, FRAMES_OF_A_HALF // stream.clip.length)
    return Stream(Clip("evenly", stream.clip.length, stride, clips, corrupt=0), stream.apply, average=True)


def real_batches(
    model: Model,
    tracklets: data.Tracklets,
    relations: Relations,
    together: np.ndarray,
    settings: AdaptationSettings,
    *,
    number: int,
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Iterate over the batches of round `number`, for each stream `frames`, `positive` and `negative`.

    `frames` are uint8 [B, T, H, W, C], C channels of what the stream reads.

    Args:
      model: that is adapted.
      tracklets: of the N tracks to train on.
      relations: of these.
      together: [N, N] tracks seen at the same time.
      settings: of the adaptation.
      number: of the round, from 1; part of the seed.
    """
    pieces = Pieces(tracklets, settings.pieces)
    seed = _seed(settings.seed, 3, number)
    sampler = TogetherSampler(relations.identities, together, settings.pieces, settings.tracks_per_batch, seed)
    streams = {
        name: data.train_batches(
            pieces,
            settings.phase(clip, sampler.batch_size),
            seed=seed,
            num_batches=settings.steps,
            sampler=sampler,
            **_reading(model, name),
        )
        for name, clip in training_clips(model).items()
    }
    for parts in zip(*streams.values(), strict=True):
        batch = dict(zip(streams, parts, strict=True))
        yield {
            name: _with_masks(part["frames"], *pair_masks(part["pid"], relations.identities, relations.different))
            for name, part in batch.items()
        }


def synthetic_batches(
    model: Model, source: data.Tracklets | None, settings: AdaptationSettings, *, number: int
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """Iterate over the synthetic batches of round `number`, as `real_batches`; all are empty without a source."""
    if source is None or not settings.synthetic_weight:
        yield from ({} for _ in range(settings.steps))
        return
    size = 2 * min(settings.tracks_per_batch, len(np.unique(source.pids)))
    streams = {
        name: data.train_batches(
            source,
            settings.phase(clip, size),
            seed=_seed(settings.seed, 4, number),
            num_batches=settings.steps,
            **_reading(model, name),
        )
        for name, clip in training_clips(model).items()
    }
    for parts in zip(*streams.values(), strict=True):
        yield {
            name: _with_masks(part["frames"], *_labelled_pairs(part["pid"]))
            for name, part in zip(streams, parts, strict=True)
        }


def statistics_batches(
    model: Model, tracklets: data.Tracklets, settings: AdaptationSettings
) -> list[dict[str, np.ndarray]]:
    """Return frames of real clips without augmentation, for each stream, to measure batch statistics on."""
    pieces = Pieces(tracklets, settings.pieces)
    size = min(2 * settings.tracks_per_batch, len(pieces))
    sampler = data.ShuffleSampler(np.ones(len(pieces), int), size, _seed(settings.seed, 5, 0))
    streams = {
        name: data.train_batches(
            pieces,
            settings.phase(clip, size, augmented=False),
            seed=_seed(settings.seed, 5, 0),
            num_batches=STATISTICS_BATCHES,
            sampler=sampler,
            **_reading(model, name),
        )
        for name, clip in training_clips(model).items()
    }
    return [
        {name: part["frames"] for name, part in zip(streams, parts, strict=True)}
        for parts in zip(*streams.values(), strict=True)
    ]


def _reading(model: Model, stream: str) -> dict[str, Any]:
    """Return how `data.train_batches` reads what a stream of a model takes."""
    options = model.extraction()
    return {
        "size": options.size,
        "num_threads": options.num_threads,
        "inputs": models.inputs_of(model.module, model.streams[stream].apply),
        "flow": options.flow,
    }


def _seed(seed: int, purpose: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, purpose, number)).generate_state(1)[0])


def _labelled_pairs(pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs of labelled clips are of one person, a clip with itself left out, and which are of two."""
    same = pids[:, None] == pids[None]
    return same & ~np.eye(len(pids), dtype=bool), ~same


def _with_masks(frames: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> dict[str, np.ndarray]:
    return {"frames": frames, "positive": positive, "negative": negative}
