"""A trained model that is ready to embed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from vreid_jax import models
from vreid_jax.config.run import Stream, parse_streams
from vreid_jax.data import Tracklets
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import ExtractionOptions, extract_stream, fuse
from vreid_jax.retrieval.distances import plain_metric
from vreid_jax.runtime.dtype import compute_dtype
from vreid_jax.runtime.mesh import make_mesh, replicate
from vreid_jax.training.network import Network

ONE_TRACKLET_FRAMES = 64  # frames in a batch where a single tracklet is embedded


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights, and all that its vectors depend on.

    Attributes:
      name: of the model, as in `models.names()`.
      fields: of `models.create`.
      config: frame size, evaluation streams and whatever else of the run's configuration is known.
      variables: `params` and `batch_stats`.
      mean: of the frames in [0, 1].
      std: likewise.
      about: what is known of its training: `system`, `dataset`, `step`, `phase`, `scores`, `scores_by` (the comparison of
        tracklets that gave them), `open_set`; of a file also `licence`, and `library_version` of who wrote it.
    """

    name: str
    fields: Mapping[str, Any]
    config: ConfigDict
    variables: Mapping[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    about: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The plain distance in which its vectors are compared."""
        return plain_metric(self.config.evaluation.metric)

    @property
    def licence(self) -> str:
        """Under what terms its weights may be used: what its file states, else the terms of the dataset of its training."""
        dataset = self.about.get("dataset")
        return self.about.get("licence") or f"trained on {dataset}, whose terms apply to what is made of it"

    @functools.cached_property
    def module(self) -> nn.Module:
        """The network, computing in the dtype that suits the device."""
        return self.make_module(compute_dtype(self.config.dtype))

    def make_module(self, dtype: str) -> nn.Module:
        """Return the network, computing in `dtype` if it offers a choice."""
        known = models.entry(self.name).fields
        chosen = {"dtype": dtype} if "dtype" in known else {}
        classes = {"num_classes": _num_classes(self.variables["params"])} if "num_classes" in known else {}
        return models.create(self.name, **{**self.fields, **chosen, **classes})

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: equal for models that give the same vector for the same frames."""
        digest = hashlib.sha256()
        streams = {key: stream.to_dict() for key, stream in self.config.evaluation.streams.items()}
        head = (self.name, dict(self.fields), streams, self.config.data.height, self.config.data.width)
        if any(models.inputs_of(self.module, stream["apply"]) != "frames" for stream in streams.values()):
            head = (*head, self.config.data.get("flow", "dis"))
        if headline := self.config.evaluation.get("headline", ""):
            head = (*head, headline)
        values = [[float(value) for value in three] for three in (self.mean, self.std)]
        digest.update(json.dumps([*head, *values], sort_keys=True, default=list).encode())
        variables: dict[str, Any] = flatten_dict(dict(self.variables), sep="/")
        for name, value in sorted(variables.items()):
            digest.update(f"\0{name}\0{value.dtype}\0{value.shape}\0".encode())
            digest.update(np.asarray(value).tobytes())
        return digest.hexdigest()[:16]

    def embed(self, frames) -> np.ndarray:
        """Return the vector [D] float32 of one tracklet.

        Args:
          frames: [T, H, W, 3] uint8 RGB in temporal order, of any size, T > 0.

        Raises:
          InputError: for frames of another kind.
        """
        return self.embed_tracklets(OneTracklet(frames), batch_frames=ONE_TRACKLET_FRAMES)[0]

    @functools.cached_property
    def streams(self) -> dict[str, Stream]:
        """The evaluation streams that vectors are made of, without what only an evaluation does: every one averages, and none corrupts clips."""
        streams, headline = parse_streams(self.config.evaluation), self.config.evaluation.get("headline", "")
        return {
            name: dataclasses.replace(stream, average=True, clip=dataclasses.replace(stream.clip, corrupt=0))
            for name, stream in streams.items()
            if name == headline or not headline
        }

    @property
    def network(self) -> Network:
        """The module with the normalisation of its frames."""
        return Network(self.module, self.mean, self.std)

    def extraction(self, batch_frames: int = 0, progress: bool = False) -> ExtractionOptions:
        """Return how features are extracted, in batches of so many frames or, for 0, of the configuration's."""
        return ExtractionOptions(
            size=(self.config.data.height, self.config.data.width),
            batch_frames=batch_frames or self.config.evaluation.batch_frames,
            num_threads=self.config.data.num_threads,
            seed=self.config.seed,
            progress=progress,
            flow=self.config.data.get("flow", "dis"),
        )

    @functools.cached_property
    def _on_devices(self) -> Mapping[str, Any]:
        """The variables on every device of this process, copied there once."""
        return replicate(dict(self.variables), make_mesh(jax.local_devices()))

    def embed_tracklets(self, tracklets: Tracklets, batch_frames: int = 0, progress: bool = False) -> np.ndarray:
        """Return the vectors [N, D] float32 of N tracklets, read as they are needed.

        Each of several processes embeds a share of them, and all get the whole table.
        """
        options = self.extraction(batch_frames, progress)
        return fuse(
            {
                name: extract_stream(self.network, self._on_devices, tracklets, stream, options, name=name)
                for name, stream in self.streams.items()
            }
        )


def _num_classes(params: Mapping) -> int:
    """Columns of the classifier, 0 where the network has none."""
    flat: dict[str, Any] = flatten_dict(dict(params), sep="/")
    for name, value in flat.items():
        if name.endswith("classifier/kernel"):
            return int(value.shape[-1])
    return 0


class OneTracklet:
    """Frames [T, H, W, 3] uint8 RGB in memory, T > 0, as `data.Tracklets` of one; `InputError` for anything else."""

    def __init__(self, frames):
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
            raise InputError(
                f"frames must be [T, H, W, 3] uint8 RGB with at least one frame, not {frames.dtype} {frames.shape}"
            )
        self._frames = frames
        self.tracklet_ids = np.array(["frames"])
        self.pids, self.camids = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.num_frames = np.array([len(frames)])

    def __len__(self) -> int:
        return 1

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Return the named frames."""
        del row
        return self._frames[frame_numbers]
