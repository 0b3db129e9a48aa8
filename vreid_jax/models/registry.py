"""The registry of models: the name of each, the fields it takes and the input it was made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from flax import linen as nn
from flax.core import FrozenDict
from ml_collections import ConfigDict

from vreid_jax.config.fields import nearest
from vreid_jax.config.inputs import CHANNELS
from vreid_jax.errors import InputError
from vreid_jax.settings import BELOW_ONE, NOT_NEGATIVE, check, field_types, from_to, one_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered model.

    `mean` and `std` normalise RGB frames in [0, 1]; `input_size` is (height, width); `fields` are the names `create`
    accepts; `fixed` are the values of the module's fields that define this model.
    """

    name: str
    module: type[nn.Module]
    fields: tuple[str, ...]
    fixed: Mapping[str, Any]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_size: tuple[int, int] = (256, 128)
    clip_length: int = 8
    metric: str = "euclidean"
    """The distance in which weights of another project are compared; a configuration of a run names its own."""
    prepare: Callable | None = None
    """`prepare(phase, state, batches) -> state`, called once before the first step of the phase of that name."""
    update: Callable | None = None
    """`update(state, outputs, batch) -> state`, called inside the jitted step after the optimizer."""
    similarity: Callable | None = None
    """`similarity(query, gallery) -> [Q, G]`, used in evaluation instead of the distance of features."""


# Types of the fields of modules, whose values `create` checks by their annotations.
Size = Annotated[int, from_to(1, 65_536)]  # channels, frames, parts
Classes = Annotated[int, NOT_NEGATIVE]
_Blocks = Annotated[int, from_to(1, 100)]
Stages = tuple[_Blocks, _Blocks, _Blocks, _Blocks]
StemLength = Annotated[int, from_to(0, 99)]
Dropout = Annotated[float, BELOW_ONE]
Dtype = Annotated[str, one_of(("float32", "bfloat16", "float16"))]  # of the computation

_ENTRIES: dict[str, Entry] = {}


def register(name: str, module: type[nn.Module], fields: tuple[str, ...], fixed: Mapping[str, Any], **meta) -> None:
    """Add a model to the registry; a module's file calls it once for each name that it defines.

    Args:
      name: what `create` calls the model.
      module: its class.
      fields: the fields that `create` accepts.
      fixed: the values of other fields, which define this model.
      **meta: fields of `Entry`, where they differ from its defaults.

    Raises:
      ValueError: for a name that is already taken, or a field that the class does not have.
    """
    if name in _ENTRIES:
        raise ValueError(
            f"model {name!r} is registered twice: a configuration file, which may be run more than once, does so only if "
            f"{name!r} is not in vreid_jax.models.names()"
        )
    known = {field.name for field in dataclasses.fields(module)}
    unknown = (set(fields) | set(fixed)) - known
    if unknown:
        raise ValueError(f"{module.__name__} has no field {sorted(unknown)}")
    _ENTRIES[name] = Entry(name, module, tuple(fields), dict(fixed), **meta)


def names() -> tuple[str, ...]:
    """Return the names of all registered models, sorted."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """Return the registry entry of a model.

    Raises:
      InputError: for an unknown name, with the nearest one.
    """
    if name not in _ENTRIES:
        raise InputError(f"there is no model {name!r}{nearest(name, names())}")
    return _ENTRIES[name]


def create(name: str, **fields) -> nn.Module:
    """Return the module of the model `name` with the given fields.

    Raises:
      InputError: for an unknown name or field, with the nearest one; for a value that is not what the module's
        annotation says.
    """
    found = entry(name)
    for field in fields:
        if field not in found.fields:
            hint = nearest(field, found.fields, "its fields are")
            raise InputError(f"model {name!r} has no field {field!r}{hint}")
    fields = {field: _hashable(value) for field, value in fields.items()}
    kinds = field_types(found.module)
    for field, value in fields.items():
        check(value, kinds[field], f"model {name!r}: {field}")
    return found.module(**{**found.fixed, **fields})


def inputs_of(module: nn.Module, apply: Mapping[str, Any] | ConfigDict | None = None) -> str:
    """Return what a module reads, of `config.inputs.CHANNELS`, with these keyword arguments: pictures, unless it says else.

    A module that reads optical flow says so in a method `inputs(**apply)`.
    """
    inputs = getattr(module, "inputs", None)
    return inputs(**(apply or {})) if inputs else "frames"


def channels_of(module: nn.Module, apply: Mapping[str, Any] | ConfigDict | None = None) -> int:
    """Return how many channels the clips have that a module takes with these keyword arguments."""
    return CHANNELS[inputs_of(module, apply)]


def frames_of(module: nn.Module, used: int) -> int:
    """Return the frames of the clip by which a module is initialised that sees clips of up to `used` frames.

    A part of it that is not used may be built for longer ones, its `clip_length`.
    """
    return max(used, getattr(module, "clip_length", 1))


def size_of(name: str, module: nn.Module) -> tuple[int, int]:
    """Return height and width of the frames that a model was made for: those of its entry, unless its module says else.

    A module whose fields need another size says so in a property `needed_size`, which is None where they do not.
    """
    return getattr(module, "needed_size", None) or entry(name).input_size


def check_clip(module: nn.Module, length: int, apply: Mapping[str, Any] | ConfigDict) -> None:
    """Raise `InputError` for clips of a length that a run of a module does not have with these keyword arguments.

    A module that has such lengths refuses them in a method `check_clip(length, **apply)`.
    """
    if check := getattr(module, "check_clip", None):
        check(length, **apply)


def check_run(module: nn.Module, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
    """Raise `InputError` for a new run that a module cannot have.

    A module that has such runs refuses them in a method `check_run(settings, kept, source)`.

    Args:
      module: the network.
      settings: of the run.
      kept: names (`params/vlad/centres`) of the variables that come trained, which no `prepare` changes.
      source: the configuration of the run that they come from, as far as it is known: its `model`, `phase_order`, ….
    """
    if check := getattr(module, "check_run", None):
        check(settings, kept, source)


def check_scored(module: nn.Module, settings: Any, kept: Sequence[str], source: Mapping[str, Any]) -> None:
    """Raise `InputError` where the similarity of a run's evaluation is that of a part that nothing has trained.

    A module that has such parts refuses them in a method `check_scored(settings, kept, source)`; the arguments are those of
    `check_run`, also of a run that is there.
    """
    if check := getattr(module, "check_scored", None):
        check(settings, kept, source)


def trained_parts(module: nn.Module, apply: Mapping[str, Any] | ConfigDict) -> Mapping[str, str]:
    """Return the parts of a module that its feature is made of with these keyword arguments, each with its own phase.

    A module with parts that are random before a phase of theirs says so in a method `trained_parts(**apply)`.
    """
    parts = getattr(module, "trained_parts", None)
    return parts(**apply) if parts else {}


def unshaped(module: nn.Module) -> Mapping[str, Any]:
    """Return the fields that a module computes by and no tensor shows, as far as it reads them.

    Weights mean what they were trained for only where these are the same. A module that has such fields says so in a
    method `unshaped()`.
    """
    told = getattr(module, "unshaped", None)
    return told() if told else {}


def check_channels(clips: Any, inputs: str, what: str) -> None:
    """Raise `InputError` for clips of other channels than those of `inputs`; `what` reads them."""
    if clips.shape[-1] != CHANNELS[inputs]:
        kinds = {"frames": "pictures", "flow": "stacks of optical flow", "both": "pictures with stacks of optical flow"}
        raise InputError(f"{what} reads {kinds[inputs]}, {CHANNELS[inputs]} channels, and was given {clips.shape[-1]}")


def _hashable(value: Any) -> Any:
    """Turn the lists and mappings of configurations and JSON into tuples and frozen mappings."""
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, Mapping | ConfigDict):
        return FrozenDict({key: _hashable(item) for key, item in value.items()})
    return value
