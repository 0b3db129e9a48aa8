"""What a system's `prepare` may read before a phase: batches of it, and the features of every clip it can draw."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vreid_jax import data, models
from vreid_jax.config.phases import Phase
from vreid_jax.config.run import RunSettings, Stream
from vreid_jax.evaluation import features
from vreid_jax.evaluation.features import ExtractionOptions
from vreid_jax.files import atomic_file
from vreid_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class PhaseData:
    """The training data of one phase; called with a number it gives so many of its batches.

    Attributes:
      phase: the phase's settings.
      config: the run's.
      options: how features are extracted.
      source: the training split.
      batches: `batches(count)`, an iterator over the phase's first `count` batches.
      report: writes numbers by name to `metrics.jsonl`, as those of the step before the phase.
      kept: names (`params/vlad/centres`) of variables that came trained, of which `prepare` changes none in vain.
    """

    phase: Phase
    config: RunSettings
    options: ExtractionOptions
    source: data.TrackletSource
    batches: Callable[[int], Iterator]
    report: Callable[[dict[str, float]], None] = lambda _: None
    kept: tuple[str, ...] = ()

    def __call__(self, count: int) -> Iterator:
        """Iterate over the first `count` batches of the phase."""
        return self.batches(count)

    @property
    def num_rows(self) -> int:
        """Rows of the table of clip features."""
        clip = self.phase.clip
        return len(self.source.num_frames) * clip.num_clips * (2 if clip.corrupt else 1)

    def clip_features(self, state: TrainState) -> np.ndarray:
        """Features [rows, D] float32 of every tracklet's clips, without augmentation, for `cache_features`.

        The `num_clips` rows of a tracklet follow each other; where clips are corrupted, the same clips corrupted, each
        of them, come behind. So one table serves every draw: N·M·D·4 bytes, twice that with corruption (544 MB for
        8,298 tracklets of 8 clips of 1,024), on every device and in every checkpoint of the phase. With
        `config.data.feature_dir` it is read from there, if a run with the same variables and clips has
        left it, unless there are several processes.
        """
        kept = self.config.data.feature_dir if jax.process_count() == 1 else ""
        file = Path(kept).expanduser() / f"clips-{self._fingerprint(state)}.npy" if kept else None
        if file and file.exists():
            return np.load(file)
        table = self._extract(state)
        if file and jax.process_index() == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as half, half.open("wb") as out:
                np.save(out, table)
        return table

    def _fingerprint(self, state: TrainState) -> str:
        """16 hexadecimal digits of all that the table depends on."""
        data, clip = self.config.data, dataclasses.asdict(self.phase.clip)
        clip["corrupt"] = clip["corrupt"] > 0
        about = (data.name, data.path, self.config.split, data.height, data.width, clip, repr(state.network))
        digest = hashlib.sha256(repr((*about, self.source.content_digest())).encode())
        tracklets = zip(self.source.tracklet_ids, self.source.num_frames, strict=True)
        digest.update(repr([(str(name), int(frames)) for name, frames in tracklets]).encode())
        for leaf in jax.tree.leaves(jax.device_get((state.params, state.batch_stats))):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()[:16]

    def _extract(self, state: TrainState) -> np.ndarray:
        assert state.network is not None  # as `new_state` made it
        clip = dataclasses.replace(self.phase.clip, kind="evenly", corrupt=0)
        tables = [
            features.extract_stream(
                state.network,
                {"params": state.params, "batch_stats": state.batch_stats},
                self.source,
                Stream(clip, {}, average=False),
                self.options,
                name="corrupted clips" if corrupted else "clips",
                corrupt_all=corrupted,
            )
            for corrupted in ((False, True) if self.phase.clip.corrupt else (False,))
        ]
        return np.stack(tables, 1).reshape(self.num_rows, -1)

    def abstract(self, module, variables) -> tuple[dict, dict]:
        """Return a batch, and of `state.extra` the cache, both as shapes."""
        size, data = self.phase.batch_size, self.config.data
        batch = {key: jax.ShapeDtypeStruct((size,), jnp.int32) for key in ("label", "pid", "camid")}
        if not self.phase.cache_features:
            frames = (size, self.phase.clip.num_frames, *data.size, models.channels_of(module, self.phase.apply))
            return {**batch, "frames": jax.ShapeDtypeStruct(frames, jnp.uint8)}, {}
        batch["cached"] = jax.ShapeDtypeStruct((size, self.phase.clip.num_clips), jnp.int32)
        clip = jax.ShapeDtypeStruct((1, self.phase.clip.length, *data.size, models.channels_of(module)), jnp.float32)
        depth = jax.eval_shape(lambda v, x: module.apply(v, x, train=False)["feature"], variables, clip).shape[-1]
        return batch, {"cache": {"clip_features": jax.ShapeDtypeStruct((self.num_rows, depth), jnp.float32)}}
