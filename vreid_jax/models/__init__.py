"""Networks: operations, layers, backbones, the systems of the papers, and the registry that names them."""

from vreid_jax.models.backbones import c3d as _c3d  # noqa: F401  (registers its names)
from vreid_jax.models.backbones import inception_i3d as _inception_i3d  # noqa: F401
from vreid_jax.models.backbones import osnet as _osnet  # noqa: F401
from vreid_jax.models.backbones import resnet as _resnet  # noqa: F401
from vreid_jax.models.backbones import resnet_bnneck as _resnet_bnneck  # noqa: F401
from vreid_jax.models.backbones import vgg as _vgg  # noqa: F401
from vreid_jax.models.registry import (
    Entry,
    channels_of,
    check_clip,
    check_run,
    check_scored,
    create,
    entry,
    frames_of,
    inputs_of,
    names,
    size_of,
    trained_parts,
    unshaped,
)
from vreid_jax.models.systems import clip_similarity as _clip_similarity  # noqa: F401
from vreid_jax.models.systems import nonlocal3d as _nonlocal3d  # noqa: F401
from vreid_jax.models.systems import person_vlad as _person_vlad  # noqa: F401
from vreid_jax.models.systems import strong_baseline as _strong_baseline  # noqa: F401
from vreid_jax.models.systems import two_stream_m3d as _two_stream_m3d  # noqa: F401
from vreid_jax.models.systems import two_stream_vgg as _two_stream_vgg  # noqa: F401

__all__ = [
    "Entry",
    "channels_of",
    "check_clip",
    "check_run",
    "check_scored",
    "create",
    "entry",
    "frames_of",
    "inputs_of",
    "names",
    "size_of",
    "trained_parts",
    "unshaped",
]
