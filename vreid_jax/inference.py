"""A trained model that is ready to embed: from the workdir of a run, or from a file of weights."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from vreid_jax import config as fields
from vreid_jax import extraction, models
from vreid_jax.data import Tracklets
from vreid_jax.errors import InputError
from vreid_jax.experiment import compute_dtype
from vreid_jax.pretrained import hub
from vreid_jax.pretrained.weights_file import load_weights, preprocessing, read_metadata, save_weights
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.training.checkpoints import load_variables
from vreid_jax.training.network import normalisation

ONE_TRACKLET_FRAMES = 64  # frames in a batch where a single tracklet is embedded
TOLD = ("system", "dataset", "step", "scores", "open_set")  # of `Model.about`, in a file


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
      about: what is known of its training: `system`, `dataset`, `step`, `scores`, `open_set`; of a file also
        `licence`, and `library_version` of who wrote it.
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
        metric = self.config.evaluation.metric
        return metric if metric in METRICS else METRICS[0]

    @functools.cached_property
    def module(self) -> nn.Module:
        """The network, computing in what the device does best."""
        return self.make_module(compute_dtype(self.config.dtype))

    def make_module(self, dtype: str) -> nn.Module:
        """The network, computing in `dtype`, where it has the choice."""
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
        values = [[float(value) for value in three] for three in (self.mean, self.std)]
        digest.update(json.dumps([*head, *values], sort_keys=True, default=list).encode())
        for name, value in sorted(flatten_dict(dict(self.variables), sep="/").items()):
            digest.update(f"\0{name}\0{value.dtype}\0{value.shape}\0".encode())
            digest.update(np.ascontiguousarray(value))
        return digest.hexdigest()[:16]

    def embed(self, frames) -> np.ndarray:
        """The vector [D] float32 of one tracklet: `frames` [T, H, W, 3] uint8 RGB in temporal order, any size, T > 0.

        Raises `InputError` for frames of another kind.
        """
        return self.embed_tracklets(OneTracklet(frames), batch_frames=ONE_TRACKLET_FRAMES)[0]

    def embed_tracklets(self, tracklets: Tracklets, batch_frames: int = 0, progress: bool = False) -> np.ndarray:
        """The vectors [N, D] float32 of N tracklets, read as they are needed; over several processes, each a share."""
        config = self.config.copy_and_resolve_references()
        with config.unlocked():
            config.evaluation.batch_frames = batch_frames or config.evaluation.batch_frames
            config.evaluation.shuffle_frames = False
            for stream in config.evaluation.streams.values():
                stream.average = True  # one vector a tracklet, also for a system that compares sets of clips
                stream.clip.corrupt = 0  # a control of the evaluation, as shuffled frames are
            config.logging.progress = progress
        return extraction.fuse(
            {
                name: extraction.extract_stream(
                    self.module,
                    self.variables,
                    tracklets,
                    stream,
                    config=config,
                    mean=self.mean,
                    std=self.std,
                    name=name,
                )
                for name, stream in config.evaluation.streams.items()
            }
        )


def load(path: str | Path) -> Model:
    """Load the model of a run's workdir, or of a `.safetensors` file that `vreid convert` wrote.

    `path` may also be such a file on the Hugging Face hub: `hf://OWNER/NAME[@REVISION][/FILE]`.

    Raises:
      InputError: when there is no model at `path`, or a damaged one.
    """
    if str(path) == "":
        raise InputError("the model is an empty text: give the workdir of a run, or a .safetensors file")
    path = hub.local_path(path)
    if path.is_dir():
        return _from_workdir(path)
    if not path.exists():
        raise InputError(f"there is no model {path}: give the workdir of a run, or a .safetensors file")
    if path.suffix != ".safetensors":
        raise InputError(f"{path} is no model: give the workdir of a run, or a .safetensors file")
    return _from_file(path)


def save(model: Model, path: str | Path, licence: str = "") -> None:
    """Write a model as one `.safetensors` file that `load` reads and that tells what it is.

    Its metadata hold the configuration, with the preprocessing, the dataset, the scores and the licence (by default:
    that of the dataset it was trained on). The vectors and the fingerprint stay the same. Raises `InputError` where
    nothing can be written.
    """
    dataset = model.about.get("dataset")
    stated = licence or model.about.get("licence") or f"trained on {dataset}, whose terms apply to what is made of it"
    own = {key: model.about[key] for key in TOLD if model.about.get(key) is not None}
    own["preprocessing"] = preprocessing(
        model.config.data.height,
        model.config.data.width,
        model.mean,
        model.std,
        {name: stream.clip.to_dict() for name, stream in model.config.evaluation.streams.items()},
    )
    own |= {"config": json.loads(model.config.to_json()), "fingerprint": model.fingerprint}
    save_weights(path, dict(model.variables), model.name, dict(model.fields), stated, **own)


def _from_workdir(workdir: Path) -> Model:
    file = workdir / "config.json"
    if not file.is_file():
        raise InputError(f"{workdir} is no workdir of a run: it has no config.json")
    try:
        config = ConfigDict(json.loads(file.read_text()))
        name = config.model.name
    except (ValueError, AttributeError, KeyError) as error:
        raise InputError(f"{file} is no configuration of a run: {error}") from error
    if name not in models.names():
        raise InputError(
            f"{workdir} is a run of {name}, which is not in the library: import the file that registers it"
        )
    if config.split == "all":
        raise InputError(f"{workdir} holds the runs of all splits: give the folder of one, {workdir / 'split_0'}")
    about = {"system": config.system, "dataset": config.dataset}
    results = workdir / "results.json"
    if results.is_file():
        found = json.loads(results.read_text())
        about |= {"open_set": search_thresholds(found), "step": found.get("step"), "scores": _scores(found)}
    return Model(
        name=config.model.name,
        fields={key: value for key, value in config.model.to_dict().items() if key != "name"},
        config=config,
        variables=load_variables(workdir),
        **normalisation(config.data, models.entry(config.model.name)),
        about=about,
    )


def _from_file(path: Path) -> Model:
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} does not say which model it is of: make it with `vreid convert`")
    variables = {"batch_stats": {}, **load_weights(path)}
    try:
        model = _described(metadata, variables)
        misfit = _misfit(model)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged: its config, fields or preprocessing cannot be read ({str(error).splitlines()[0]}); "
            "make or download it again"
        ) from error
    if not misfit and metadata.get("fingerprint", model.fingerprint) != model.fingerprint:
        misfit = f"its fingerprint says {metadata['fingerprint']}, its content is {model.fingerprint}"
    if misfit:
        raise InputError(f"{path} is damaged: {misfit}; make or download it again")
    return model


def _misfit(model: Model) -> str:
    """What is wrong with the variables, by the model's fields: names and shapes; empty where nothing is."""
    length = max(stream.clip.length for stream in model.config.evaluation.streams.values())
    clips = jax.ShapeDtypeStruct((1, length, model.config.data.height, model.config.data.width, 3), jnp.float32)
    made = jax.eval_shape(model.module.init, jax.random.key(0), clips)
    wanted, found = (
        {
            "/".join(name): tuple(value.shape)
            for name, value in flatten_dict(dict(variables)).items()
            if name[0] in ("params", "batch_stats")
        }
        for variables in (made, model.variables)
    )
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if not wrong:
        return ""
    here, there = (str(list(side[wrong[0]])) if wrong[0] in side else "nothing" for side in (found, wanted))
    return f"{len(wrong)} of its tensors are not those of its fields, {wrong[0]} is {here} instead of {there}"


def _described(metadata: Mapping[str, Any], variables: Mapping[str, Any]) -> Model:
    """The model of a file, by what the file says of itself."""
    entry = models.entry(metadata["model"])
    config, seen = metadata.get("config"), metadata.get("preprocessing") or {}
    if config is None:  # weights of another project: the sizes that the model was made for
        config = fields.default(metadata["model"], "walkers")
        config.data.update(height=entry.input_size[0], width=entry.input_size[1])
        config.evaluation.streams = {"feature": fields.evaluation_stream("evenly", entry.clip_length, {})}
    config = ConfigDict(config)
    config.data.update({key: seen[key] for key in ("height", "width") if key in seen})
    return Model(
        name=metadata["model"],
        fields={key: value for key, value in metadata["fields"].items() if key != "num_classes"},
        config=config,
        variables=variables,
        mean=tuple(seen.get("mean", entry.mean)),
        std=tuple(seen.get("std", entry.std)),
        about={key: metadata[key] for key in (*TOLD, "licence", "library_version") if key in metadata},
    )


def search_thresholds(results: Mapping) -> dict | None:
    """The thresholds in a `results.json` of the plain distance in which vectors are searched."""
    measured = results.get("open_set")
    return measured.get("of_vectors", measured) if measured else None


def _scores(results: Mapping) -> dict[str, dict]:
    return {
        protocol: {key: value for key, value in scores.items() if key != "cmc"}
        for protocol, scores in results.get("protocols", {}).items()
    }


def _num_classes(params: Mapping) -> int:
    """Columns of the classifier, 0 where the network has none."""
    for name, value in flatten_dict(dict(params), sep="/").items():
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
        """The named frames."""
        del row
        return self._frames[frame_numbers]
