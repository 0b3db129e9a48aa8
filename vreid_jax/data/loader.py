"""Grain pipelines: training batches that can be resumed anywhere, and the clips of every tracklet at test."""

# Grain has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from absl import flags

from vreid_jax.config.phases import Clip, Phase
from vreid_jax.data.augment import augment_as
from vreid_jax.data.clips import sample_clip, split_clips
from vreid_jax.data.corruption import corrupt, draw_corrupted, tracklet_generator
from vreid_jax.data.flow_stacks import check_inputs, read_inputs
from vreid_jax.data.resizing import resize
from vreid_jax.data.samplers import IdentitySampler, Sampler, ShuffleSampler
from vreid_jax.data.source import Tracklets
from vreid_jax.errors import InputError

STOPS = (signal.SIGINT, signal.SIGTERM)
FRAMES_PER_ITEM = 256  # longer tracklets are evaluated in pieces of about this many frames


def make_sampler(source: Any, phase: Phase, seed: int) -> Sampler:
    """Build the sampler a phase names: `shuffle`, `frames`, or `identity` with P x K = `batch_size`.

    Raises:
      InputError: when the training split is too small for it, or there is no such sampler.
    """
    if phase.sampler == "shuffle":
        return ShuffleSampler(np.ones(len(source), int), phase.batch_size, seed)
    if phase.sampler == "frames":
        return ShuffleSampler(source.num_frames, phase.batch_size, seed)
    if phase.sampler == "identity":
        if (np.asarray(source.pids) < 0).any():
            raise InputError(
                "the training split holds tracklets of pid -1, which belong to no identity: the sampler must be shuffle or "
                "frames"
            )
        clips_per_identity = phase.batch_size // phase.identities_per_batch
        return IdentitySampler(source.pids, source.camids, phase.identities_per_batch, clips_per_identity, seed)
    raise InputError(f"sampler is {phase.sampler!r}; it is one of shuffle, frames, identity")


def check_clip(phase: Phase) -> None:
    """Raise `InputError` for clip sampling with invalid fields, or that a feature cache cannot serve."""
    clip = phase.clip
    rng = np.random.default_rng(0)
    sample_clip(clip.kind, 1, clip.length, clip.stride, rng, clip.num_clips, clip.short)
    draw_corrupted(clip.num_clips, clip.corrupt, rng)
    if phase.cache_features and clip.kind != "spread":
        raise InputError(f"cache_features needs clip.kind 'spread', whose clips are always the same, not {clip.kind!r}")


def num_batches_per_epoch(source: Any, phase: Phase) -> int:
    """Return the number of batches in one epoch of a phase's sampler."""
    return make_sampler(source, phase, seed=0).batches_per_epoch


def train_batches(
    source: Tracklets,
    phase: Phase,
    *,
    size: tuple[int, int],
    seed: int,
    num_batches: int,
    num_threads: int,
    num_workers: int = 0,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    sampler: Sampler | None = None,
    inputs: str = "frames",
    flow: str = "dis",
) -> Iterator[dict[str, Any]]:
    """Iterate over the training batches of a phase; batch `i` is a pure function of (`seed`, `i`).

    Args:
      source: the training split.
      phase: the phase's configuration: sampler, clip sampling and augmentation.
      size: height and width of the frames, in pixels.
      seed: of this run and phase.
      num_batches: of the phase.
      num_threads: decoding threads, of every process that reads.
      num_workers: processes that read, beside this one, which otherwise reads itself.
      start: the first batch; the iteration ends with batch `num_batches - 1`.
      shard: (process index, number of processes); each process gets a contiguous part of the global batch.
      sampler: in place of the one that the phase names.
      inputs: what the network reads, one of `config.inputs.CHANNELS`: `frames`, `flow` or `both`.
      flow: the method by which optical flow that is not stored is computed.

    Returns:
      An iterator over mappings of `frames` uint8 [B, T, H, W, C], C channels of `inputs`, and `label`, `pid`,
      `camid` int32 [B]. The label is the rank of the pid among the split's sorted pids, -1 for pid -1. With
      `cache_features` the frames are replaced by `cached`, int32 [B, M]: rows of a table with the features of every
      clip, `num_clips` per tracklet in the split's order, as given and, if `corrupt` is above 0, again corrupted. The
      random draws are the same with and without a cache.

    Raises:
      InputError: if the split is too small for the sampler, if the batch cannot be divided among the processes, and
        for what `check_clip` refuses.
    """
    import grain  # here because it takes most of a second, which a command that reads no tracklets need not wait

    sampler = make_sampler(source, phase, seed) if sampler is None else sampler
    process, num_processes = shard
    local, rest = divmod(sampler.batch_size, num_processes)
    if rest:
        raise InputError(
            f"batch_size is {sampler.batch_size}; it must be a multiple of the number of processes, {num_processes}"
        )
    check_clip(phase)
    check_inputs(inputs, phase.clip.corrupt)
    lanes = max(1, num_workers)
    phase = dataclasses.replace(phase, losses={})  # a loss of a configuration file could not be sent to the workers
    load = _TrainingClips(source, sampler, phase, size, seed, start, lanes, local, process * local, inputs, flow)
    # Prefetching is by clip rather than by batch, which may be of any size.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(local, 4 * num_threads))
    count = num_batches - start
    elements = -(-count // lanes) * lanes * local
    batches = grain.MapDataset.range(elements).map(load).to_iter_dataset(options).batch(local)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads flags of its own, of a program that may not know of flags
        reading = grain.multiprocessing.MultiprocessingOptions(num_workers=num_workers)
        batches = batches.mp_prefetch(reading, _end_with_the_trainer)
    return _first(batches, count, num_workers)


def _end_with_the_trainer(worker: int, workers: int) -> None:
    """Let a process that reads outlive signals to the whole group, which its trainer answers, but not its trainer."""
    del worker, workers
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    trainer = multiprocessing.parent_process()
    assert trainer is not None

    def wait() -> None:
        trainer.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _signals_held() -> Generator[None, None, None]:
    """Let signals wait until the block ends, in processes that begin in it for ever: they inherit what is blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker  # here: Windows has no use for it

    resource_tracker.ensure_running()  # else the first process starts it, which lets these signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _first(batches: Any, count: int, num_workers: int) -> Iterator[dict[str, Any]]:
    """Yield so many batches, and let go of the processes that read them."""
    with contextlib.ExitStack() as stack:
        # Before `_end_with_the_trainer` runs in a worker, which takes it a second or more, a signal would end it.
        with _signals_held() if num_workers else contextlib.nullcontext():
            iterator: Any = iter(batches)
            if hasattr(iterator, "close"):  # not in older versions of Grain
                stack.callback(iterator.close)
            first = list(itertools.islice(iterator, min(count, 1)))
        yield from first
        yield from itertools.islice(iterator, count - len(first))


@dataclasses.dataclass(frozen=True)
class _TrainingClips:
    """The clips of `train_batches` by number: an object that worker processes get a copy of.

    Attributes:
      source: the training split.
      sampler: of its tracklets.
      phase: the phase's configuration.
      size: height and width of the frames, in pixels.
      seed: of this run and phase.
      start: the first batch.
      lanes: processes that read; each gets every n-th clip, and its batches are every n-th batch.
      local: clips of a batch that this process of the run reads.
      first: the first of them.
      inputs: what the network reads.
      flow: the method of flow that is not stored.
    """

    source: Tracklets
    sampler: Sampler
    phase: Phase
    size: tuple[int, int]
    seed: int
    start: int
    lanes: int
    local: int
    first: int
    inputs: str
    flow: str

    @functools.cached_property
    def labels(self) -> dict[int, int]:
        """The label of every identity."""
        pids = self.source.pids
        return {pid: label for label, pid in enumerate(np.unique(pids[pids >= 0]).tolist())} | {-1: -1}

    def __call__(self, element: int) -> dict[str, Any]:
        """Return one clip of a batch, with its label."""
        nth, slot = divmod(element // self.lanes, self.local)
        batch = self.start + nth * self.lanes + element % self.lanes
        slot += self.first
        source, clip = self.source, self.phase.clip
        row = int(_rows(self.sampler, batch)[slot])
        rng = np.random.default_rng((self.seed, 4, batch, slot))
        frames = int(source.num_frames[row])
        numbers = sample_clip(clip.kind, frames, clip.length, clip.stride, rng, clip.num_clips, clip.short)
        numbers = numbers.reshape(clip.num_clips, -1)
        corrupted = draw_corrupted(len(numbers), clip.corrupt, rng)
        if self.phase.cache_features:
            inputs = {"cached": cache_rows(row, corrupted, clip.corrupt > 0)}
        else:
            inputs = {"frames": self._frames(row, numbers, corrupted, rng)}
        return {
            **inputs,
            "label": np.int32(self.labels[int(source.pids[row])]),
            "pid": np.int32(source.pids[row]),
            "camid": np.int32(source.camids[row]),
        }

    def _frames(self, row: int, numbers: np.ndarray, corrupted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        clips = read_inputs(self.source, row, numbers, self.inputs, method=self.flow)
        clips = [corrupt(frames) if bad else frames for frames, bad in zip(clips, corrupted, strict=True)]
        other = functools.partial(_somebody_else, self.source, row)
        how = self.phase.augment
        return np.concatenate([augment_as(how, frames, *self.size, rng, other) for frames in clips])


@functools.lru_cache(maxsize=64)
def _rows(sampler: Sampler, batch: int) -> np.ndarray:
    return sampler.batch(batch)


def _somebody_else(source: Tracklets, row: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Read consecutive frames of a random tracklet of another identity than that of `row`; of any if there is one only."""
    others = np.flatnonzero(source.pids != source.pids[row])
    chosen = int(rng.choice(others)) if len(others) else row
    numbers = sample_clip("consecutive", int(source.num_frames[chosen]), num_frames, 1, rng)
    return source.read(chosen, numbers)


def cache_rows(row: int, corrupted: np.ndarray, variants: bool) -> np.ndarray:
    """Return the rows [M], int32, of a tracklet's clips in the table of all clips' features.

    Args:
      row: of the tracklet.
      corrupted: `[M]` which clips are corrupted.
      variants: whether the table has 2 M rows per tracklet, its clips and then the same clips corrupted, instead of M.
    """
    m = len(corrupted)
    return ((1 + variants) * m * row + m * corrupted + np.arange(m)).astype(np.int32)


def _clips_at_test(source: Tracklets, row: int, clip: Clip, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame numbers [M, T] of a tracklet's clips, and which of them are corrupted [M]."""
    rng = tracklet_generator(seed, source.tracklet_ids[row])
    clips = split_clips(clip.kind, int(source.num_frames[row]), clip.length, clip.num_clips, clip.stride, rng)
    return clips, draw_corrupted(len(clips), clip.corrupt, rng)


def _with_corrupted(clips: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Return clips `[M, T, H, W, C]`, those of them corrupted that shall be."""
    if not corrupted.any():
        return clips
    return np.stack([corrupt(clip) if bad else clip for clip, bad in zip(clips, corrupted, strict=True)])


def clips_as_evaluated(source: Tracklets, row: int, clip: Clip, seed: int = 0) -> np.ndarray:
    """Return the clips of a tracklet as its features see them, corrupted ones corrupted: uint8 `[M, T, H, W, 3]`.

    The frames have the size in which they are stored; the arguments are those of `evaluation_items`.
    """
    numbers, corrupted = _clips_at_test(source, row, clip, seed)
    return _with_corrupted(source.read(row, numbers), corrupted)


def evaluation_items(
    source: Tracklets,
    clip: Clip,
    *,
    size: tuple[int, int],
    num_threads: int,
    seed: int = 0,
    shuffle_seed: int | None = None,
    shard: tuple[int, int] = (0, 1),
    by_clip: bool = False,
    corrupt_all: bool = False,
    inputs: str = "frames",
    flow: str = "dis",
) -> Iterator[tuple[int | np.ndarray, np.ndarray]]:
    """Iterate over `(row, clips)`: uint8 `[M, T, H, W, C]` clips of tracklet `row`; long tracklets come in pieces.

    Args:
      source: the split to read.
      clip: `kind`, `length`, `num_clips` and `stride` of `split_clips`, and `corrupt`, the most clips of a tracklet to
        corrupt.
      size: height and width of the frames, in pixels.
      num_threads: decoding threads.
      seed: of the random choices for a tracklet, together with its name.
      shuffle_seed: if given, shuffles the frames of every tracklet before clips are cut: a control that destroys
        the dynamics alone.
      shard: (process index, number of processes); a process gets every n-th piece.
      by_clip: yield the numbers `row * num_clips + clip`, `[M]`, instead of `row`.
      corrupt_all: corrupt every clip.
      inputs: what the network reads, one of `config.inputs.CHANNELS`, which has C channels.
      flow: the method by which optical flow that is not stored is computed.

    Raises:
      InputError: as `check_inputs`.
    """
    import grain

    check_inputs(inputs, clip.corrupt or corrupt_all)
    items: list[tuple[int | np.ndarray, np.ndarray, np.ndarray, int]] = []
    for row in range(len(source)):
        clips, corrupted = _clips_at_test(source, row, clip, seed)
        corrupted = corrupted | corrupt_all
        pieces = min(-(-clips.size // FRAMES_PER_ITEM), len(clips))
        for part in np.array_split(np.arange(len(clips)), pieces):
            items.append((row * clip.num_clips + part if by_clip else row, clips[part], corrupted[part], row))
    if clip.kind == "single_all":
        items.sort(key=lambda item: item[1].shape)  # so that clips of one length are adjacent
    items = items[shard[0] :: shard[1]]

    def load(index: int) -> tuple[int | np.ndarray, np.ndarray]:
        slot, numbers, corrupted, row = items[index]
        order = None
        if shuffle_seed is not None:
            order = np.random.default_rng((shuffle_seed, row)).permutation(int(source.num_frames[row]))
        frames = _with_corrupted(read_inputs(source, row, numbers, inputs, method=flow, order=order), corrupted)
        frames = resize(frames.reshape(-1, *frames.shape[2:]), *size)
        return slot, frames.reshape(*numbers.shape, *frames.shape[1:])

    dataset = grain.MapDataset.range(len(items)).map(load)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    return iter(dataset.to_iter_dataset(options))
