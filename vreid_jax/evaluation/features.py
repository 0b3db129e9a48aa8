"""From tracklets to features: a stream of a network over every tracklet, streams fused, and colours as a baseline."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from vreid_jax import data, models
from vreid_jax.config.run import Stream
from vreid_jax.errors import InputError
from vreid_jax.runtime.mesh import ensure_replicated, make_mesh, put_batch
from vreid_jax.training.network import Network

ROWS_AT_ONCE = 1024
Features = np.ndarray  # [N, D] float32, a row a tracklet


@dataclasses.dataclass(frozen=True)
class ExtractionOptions:
    """How features are extracted, whatever the network and the tracklets.

    Attributes:
      size: height and width of the frames that the network sees.
      batch_frames: frames in one batch.
      num_threads: decoding threads.
      seed: of what is drawn for a tracklet, together with its name.
      shuffle_frames: shuffle the frames of every tracklet, the control that destroys dynamics and nothing else.
      progress: show a bar.
      flow: the method of optical flow that is not stored with the tracklets.
    """

    size: tuple[int, int]
    batch_frames: int
    num_threads: int
    seed: int = 0
    shuffle_frames: bool = False
    progress: bool = False
    flow: str = "dis"


def extract_stream(
    network: Network,
    variables,
    tracklets: data.Tracklets,
    stream: Stream,
    options: ExtractionOptions,
    *,
    name: str = "features",
    corrupt_all: bool = False,
) -> Features:
    """Average the network's `feature` over the clips of every tracklet: `[N, D]` float32, not normalised.

    With `stream.average` False the clips' features stay apart: `[N, M, D]`, M of `stream.clip.num_clips`.

    A module with a method `tracklet_feature(mean, **apply)` makes the tracklets' features out of these means.

    Clips are batched across tracklets and padded to one shape, so that there is one compilation. Every process
    embeds a part of the tracklets on its own devices; all of them get the whole table.

    Args:
      network: the module and the normalisation of its frames.
      variables: its parameters and batch statistics.
      tracklets: a source of N tracklets.
      stream: which clips of a tracklet (see `data.split_clips`), and keyword arguments of the module for them.
      options: frame size, batch size, threads, seed.
      name: what the progress bar says.
      corrupt_all: corrupt every clip, whatever `stream.clip.corrupt` says.

    Raises:
      InputError: as `check_clips`.
    """
    check_clips(stream)
    parts = 1 if stream.average else stream.clip.num_clips
    mesh = make_mesh(jax.local_devices())

    def batch_size(length: int) -> int:
        return max(options.batch_frames // length // mesh.size, 1) * mesh.size

    variables = ensure_replicated(variables, mesh)
    embed = _embedder(network, mesh, tuple(stream.apply.items()))
    sums: np.ndarray | None = None
    counts = np.zeros(len(tracklets) * parts, np.int64)
    items = data.evaluation_items(
        tracklets,
        stream.clip,
        size=options.size,
        num_threads=options.num_threads,
        seed=options.seed,
        by_clip=not stream.average,
        corrupt_all=corrupt_all,
        shuffle_seed=options.seed if options.shuffle_frames else None,
        shard=(jax.process_index(), jax.process_count()),
        inputs=models.inputs_of(network.module, stream.apply),
        flow=options.flow,
    )
    show = options.progress and jax.process_index() == 0
    # One batch is on the device while the next is read; the bar moves when a batch has really come back.
    running: list[tuple[jax.Array, np.ndarray]] = []

    def collect() -> None:
        nonlocal sums
        values, rows = running.pop(0)
        values = np.asarray(values, np.float64)[: len(rows)]
        if sums is None:
            sums = np.zeros((len(counts), values.shape[1]))
        np.add.at(sums, rows, values)
        np.add.at(counts, rows, 1)
        bar.update(int(np.count_nonzero(counts)) // parts - bar.n)

    with tqdm(total=len(tracklets), desc=name, unit="tracklet", disable=not show, leave=False) as bar:
        for clips, rows in _batches(items, batch_size):
            running.append((embed(variables, put_batch(clips, mesh)), rows))
            if len(running) > 1:
                collect()
        while running:
            collect()
    if jax.process_count() > 1:
        width = int(np.max(multihost_utils.process_allgather(np.int32(0 if sums is None else sums.shape[1]))))
        sums = np.zeros((len(counts), width)) if sums is None else sums
        # Halves of float64 sums: JAX would cut them to float32 on the way.
        high = sums.astype(np.float32)
        low = (sums - high).astype(np.float32)
        gathered = (np.float64(multihost_utils.process_allgather(part)).sum(0) for part in (high, low))
        sums = sum(gathered, np.zeros_like(sums))
        counts = multihost_utils.process_allgather(counts.astype(np.int32)).sum(0)
    assert sums is not None  # N is above 0
    features = (sums / counts[:, None]).astype(np.float32)
    if not stream.average:
        return features.reshape(len(tracklets), parts, -1)
    finish = getattr(network.module, "tracklet_feature", None)
    if finish is None:
        return features
    blocks = np.array_split(features, -(-len(features) // ROWS_AT_ONCE))
    return np.concatenate([np.asarray(finish(block, **stream.apply), np.float32) for block in blocks])


def check_clips(stream: Stream) -> None:
    """Raise `InputError` as `data.split_clips`, and for clips that stay apart or are corrupted but differ in number."""
    data.split_clips(stream.clip.kind, 1, stream.clip.length, stream.clip.num_clips, stream.clip.stride)
    if stream.clip.kind != "evenly":
        for what, asked in (
            ("average is False", not stream.average),
            ("clip.corrupt is above 0", stream.clip.corrupt > 0),
        ):
            if asked:
                raise InputError(
                    f"{what} in an evaluation stream, which needs clip.kind 'evenly', not {stream.clip.kind!r}"
                )
    data.draw_corrupted(stream.clip.num_clips, stream.clip.corrupt, np.random.default_rng(0))


@functools.lru_cache(maxsize=8)  # one compilation for a model that embeds one table after another
def _embedder(network: Network, mesh: Mesh, apply: tuple) -> Callable:
    @jax.jit
    def embed(variables, frames):
        return network(variables, frames, **dict(apply))["feature"].astype(jnp.float32)

    return embed


def _batches(items, batch_size: Callable[[int], int]):
    """Cut a stream of (row, clips [M, T, ...]) into batches of exactly `batch_size(T)` clips, the last one padded.

    `row` may be one for each clip. Clips of another length begin a new batch.
    """
    for length, run in itertools.groupby(items, key=lambda item: item[1].shape[1]):
        yield from _batches_of_one_length(run, batch_size(length))


def _batches_of_one_length(items, batch_size: int):
    clips, rows, held = [], [], 0
    for row, part in items:
        clips.append(part)
        rows.append(np.full(len(part), row))
        held += len(part)
        if held >= batch_size:
            all_clips, all_rows = np.concatenate(clips), np.concatenate(rows)
            for start in range(0, held - batch_size + 1, batch_size):
                yield all_clips[start : start + batch_size], all_rows[start : start + batch_size]
            held %= batch_size
            cut = len(all_rows) - held
            clips, rows = ([all_clips[cut:]], [all_rows[cut:]]) if held else ([], [])
    if held:
        last, last_rows = np.concatenate(clips), np.concatenate(rows)
        yield np.concatenate([last, np.repeat(last[-1:], batch_size - held, axis=0)]), last_rows


def fuse(streams: Mapping[str, Features], headline: str = "") -> Features:
    """Concatenate the L2-normalised features of the streams (M3D, Eq. 1); one alone, or the `headline`, stays as it is."""
    if headline:
        return streams[headline]
    if len(streams) == 1:
        return next(iter(streams.values()))
    units = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in streams.values()]
    return np.concatenate(units, axis=1)


def color_histogram(
    tracklets: data.Tracklets, size: tuple[int, int], num_frames: int = 4, bins: int = 4, stripes: int = 6
) -> Features:
    """Describe tracklets without learning: square roots of RGB histograms of horizontal stripes, `[N, S * bins³]`.

    The mean over `num_frames` evenly spaced frames of `size` (height, width); only the central half of the width counts,
    where the person is.
    """
    features = np.zeros((len(tracklets), stripes, bins**3), np.float32)
    height, width = size
    quarter = width // 4
    for row, length in enumerate(tracklets.num_frames):
        frames = tracklets.read(row, data.split_clips("evenly", int(length), 1, num_frames)[:, 0])
        frames = data.resize(frames, height, width)[:, :, quarter : width - quarter]
        codes = (frames.astype(np.int64) * bins // 256) @ np.array([bins * bins, bins, 1])
        for stripe, part in enumerate(np.array_split(codes, stripes, axis=1)):
            features[row, stripe] = np.bincount(part.reshape(-1), minlength=bins**3) / part.size
    return np.sqrt(features).reshape(len(tracklets), -1)
