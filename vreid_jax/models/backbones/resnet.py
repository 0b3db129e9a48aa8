"""Residual networks with bottlenecks over frames or clips, as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.bottleneck import Bottleneck
from vreid_jax.models.layers.m3d import M3D, mean_of_pairs, num_scales
from vreid_jax.models.layers.non_local import NonLocal
from vreid_jax.models.layers.residual_attention import ResidualAttention, check_branches
from vreid_jax.models.layers.space_time import KINDS, space_time
from vreid_jax.models.ops.pool import max_pool_3_in_time, max_pool_3x3_stride2, max_pool_3x3_stride2_ceil
from vreid_jax.models.registry import Dtype, Size, Stages, StemLength, register
from vreid_jax.settings import Rule, check, one_of

LastStride = Annotated[int, Rule(lambda x: x in (1, 2), "it is 1 or 2")]
M3DBlocks = Annotated[str, one_of(("first", "all"))]
StemPool = Annotated[str, one_of(("padded", "ceil"))]
MERGES = ("mean", "subsample")
STRIDED_STAGES = (1, 1, 1, 2, 2, 2)
"""`temporal_strides` of stem, pool and the four stages."""

ADDED_PARTS = (r"m3d", r"(conv|bn)\d_t", r"attention\d", r"non_local\d_\d+")
"""Patterns of the submodules that a 2-D ResNet lacks; a network that starts from one keeps its own values there."""


class ResNet(nn.Module):
    """A bottleneck ResNet over [B, T, H, W, C], C of 3, or 20 of stacks of optical flow.

    Parameters are float32.

    Attributes:
      kind: "2d" treats every frame alone; "m3d" puts an `M3D` layer into the first bottleneck of each stage. The other
        kinds replace the spatial convolutions of stem and bottlenecks as `space_time` says; the stem of "separable" is
        "inflated".
      width: channels of the stem (64 in ResNet-50).
      stage_sizes: bottlenecks of each stage.
      last_stride: spatial stride of stage 4, 1 or 2.
      stem_relu: a ReLU behind the stem's batch norm; the networks of reid-strong-baseline have none.
      stem_pool: the pool behind the stem, 3x3 at stride 2: "padded" by 1 as torchvision's, or "ceil", as FastReID's, whose
        windows begin at the first position and may stick out at the last one.
      stem_length: frames of an inflated stem's kernel, odd.
      temporal_strides: of the stem, the pool and the four stages, each 1 or 2, for kinds other than "2d" and "m3d".
      temporal_shortcut: what shortcuts do, and "separable" kernels at the start, where time is strided: "mean" of the
        frames that are merged, so that every frame counts (**choice**), or "subsample", as in published networks. Of
        P3D "subsample" alone.
      temporal_pool: the pool is over 3x3x3 instead of 1x3x3. A network with it cannot equal its 2-D one on a moving clip.
        Without it a strided pool merges frames as `temporal_shortcut` says.
      non_local_after: the bottlenecks, counted from 0, that a `NonLocal` block follows, e.g. {"res3": (1, 3)}; for kind
        "2d" it attends within single frames.
      non_local_scale: its `scale`.
      non_local_subsample: its `subsample`.
      clip_length: the T that M3D and temporal attention are built for.
      temporal_scales: the rule of `num_scales`.
      stem_m3d: an `M3D` layer behind the stem, too.
      temporal_stride: M3D halves time in stages 2-4.
      m3d_init: how M3D's temporal kernels start, "random" or "zero_sum": see `M3D`.
      m3d_blocks: which bottlenecks of a stage have an `M3D` layer, the "first" or "all".
      m3d_scale: what the scale of M3D's batch norms starts at; with zero the network starts as the 2-D one.
      ral: the branches ("s", "c", "t") of a residual attention layer behind each of stages 1-3; "" for none.
      released: compute as the released code of the M3D paper: `temporal_scales` "log2", and ReLU in other places.
      dtype: of the computation.
      remat: recompute each bottleneck in the backward pass.
    """

    kind: str = "2d"
    width: Size = 64
    stage_sizes: Stages = (3, 4, 6, 3)
    last_stride: int = 1
    stem_relu: bool = True
    stem_pool: StemPool = "padded"
    stem_length: StemLength = 1
    temporal_strides: tuple[int, ...] = (1, 1, 1, 1, 1, 1)
    temporal_shortcut: str = "subsample"
    temporal_pool: bool = True
    non_local_after: Mapping[str, tuple[int, ...]] | None = None
    non_local_scale: float = 1.0
    non_local_subsample: bool = False
    clip_length: Size = 8
    temporal_scales: str | int = "paper"
    stem_m3d: bool = True
    temporal_stride: bool = True
    m3d_scale: float = 0.0
    m3d_init: str = "random"
    m3d_blocks: str = "first"
    ral: str = ""
    released: bool = False
    dtype: Dtype = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W C"], train: bool = False) -> dict[str, Array]:
        """Return the endpoints of normalised clips.

        They are `stem` (before the pool) and `res2` ... (before the attention), [B, t, h, w, C], and float32 `pooled`,
        [B, T, C] for kind "2d" and [B, C] otherwise, and `feature` [B, C], its mean over frames.

        Raises:
          InputError: for a field out of its range, or with temporal attention a clip whose length is not `clip_length`.
        """
        self._check(clips)
        strides = self._temporal_strides()
        x = space_time(
            jnp.asarray(clips, self.dtype),
            train,
            kind="inflated" if self.kind == "separable" else self.kind,
            features=self.width,
            number=1,
            size=7,
            length=self.stem_length,
            stride=2,
            temporal_stride=strides[0],
            relu=self.stem_relu,
            dtype=self.dtype,
        )
        length = -(-self.clip_length // strides[0])
        if self.kind == "m3d" and self.stem_m3d:
            x = M3D(
                self._scales(length),
                released=self.released,
                initial_scale=self.m3d_scale,
                initial_kernel=self.m3d_init,
                dtype=self.dtype,
                name="m3d",
            )(x, train)
        outputs = {"stem": x}
        x = max_pool_3x3_stride2(x) if self.stem_pool == "padded" else max_pool_3x3_stride2_ceil(x)
        x = self._pool_in_time(x, strides[1])
        length = -(-length // strides[1])
        block_class = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat else Bottleneck
        after = self.non_local_after or {}
        for stage, blocks in enumerate(self.stage_sizes):
            name = f"res{stage + 2}"
            for block in range(blocks):
                first = block == 0
                x = block_class(
                    width=self.width * 2**stage,
                    kind=self.kind,
                    stride=self._stride(stage) if first else 1,
                    temporal_stride=strides[stage + 2] if first else 1,
                    temporal_shortcut=self.temporal_shortcut,
                    project=first,
                    scales=self._scales(length) if self.kind == "m3d" and (first or self.m3d_blocks == "all") else 0,
                    released=self.released,
                    m3d_scale=self.m3d_scale,
                    m3d_init=self.m3d_init,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{block}",
                )(x, train)
                if block in after.get(name, ()):
                    x = self._non_local(f"non_local{stage + 1}_{block}")(x, train)
                length = -(-length // strides[stage + 2]) if first else length
            outputs[name] = x
            if self.ral and stage < 3:
                x = ResidualAttention(length, self.ral, self.released, name=f"attention{stage + 1}")(x, train)
        axes = (2, 3) if self.kind == "2d" else (1, 2, 3)
        pooled = outputs["pooled"] = x.astype(jnp.float32).mean(axes)
        outputs["feature"] = pooled.mean(1) if self.kind == "2d" else pooled
        return outputs

    @nn.nowrap
    def unshaped(self) -> dict[str, Any]:
        """Return the fields by which it computes, of those that no tensor shows."""
        told: dict[str, Any] = {"stem_relu": self.stem_relu, "stem_pool": self.stem_pool}
        if self.kind not in ("2d", "m3d"):
            told["temporal_pool"] = self.temporal_pool
            if 2 in self.temporal_strides:
                told["temporal_shortcut"] = self.temporal_shortcut
        if any((self.non_local_after or {}).values()):
            told["non_local_scale"] = self.non_local_scale
        return told

    def _pool_in_time(self, x: Array, stride: int) -> Array:
        """Pool three frames, or merge frames where the pool is one of space alone and strides time."""
        if self.kind in ("2d", "m3d"):
            return x
        if self.temporal_pool:
            return max_pool_3_in_time(x, stride)
        if stride == 1:
            return x
        return mean_of_pairs(x) if self.temporal_shortcut == "mean" else lax.slice_in_dim(x, 0, None, stride, axis=1)

    def _non_local(self, name: str) -> NonLocal:
        per_frame = self.kind == "2d"
        return NonLocal(self.non_local_scale, self.non_local_subsample, per_frame, self.dtype, name=name)

    def _temporal_strides(self) -> tuple[int, ...]:
        """Return the temporal strides of stem, pool and stages; in kind "m3d" its layers stride."""
        if self.kind != "m3d":
            return self.temporal_strides
        return STRIDED_STAGES if self.temporal_stride else (1,) * 6

    def _stride(self, stage: int) -> int:
        """Return the spatial stride of a stage, counted from 0."""
        if stage == 0:
            return 1
        return self.last_stride if stage == 3 else 2

    def _scales(self, length: int) -> int:
        """Return the number of M3D's temporal kernels where clips have `length` frames."""
        return num_scales(length, "log2" if self.released else self.temporal_scales)

    def _check(self, clips) -> None:
        """Raise `InputError` for a field out of its range, or clips of another length than temporal attention takes."""
        if self.kind not in KINDS:
            raise InputError(f"kind of ResNet is {self.kind!r}, expected one of {', '.join(KINDS)}")
        check(self.m3d_blocks, M3DBlocks, "m3d_blocks")
        check(self.last_stride, LastStride, "last_stride")
        check(self.stem_pool, StemPool, "stem_pool")
        if self.temporal_shortcut not in MERGES:
            raise InputError(f"temporal_shortcut is {self.temporal_shortcut!r}, expected one of {', '.join(MERGES)}")
        if len(self.temporal_strides) != 6 or set(self.temporal_strides) - {1, 2}:
            raise InputError(
                f"temporal_strides is {self.temporal_strides}, expected six numbers 1 or 2: of stem, pool, res2 ... res5"
            )
        if self.stem_length % 2 == 0:
            raise InputError(f"stem_length is {self.stem_length}, expected an odd number of frames")
        sizes = {f"res{stage + 2}": size for stage, size in enumerate(self.stage_sizes)}
        for name, blocks in (self.non_local_after or {}).items():
            if name not in sizes or any(not 0 <= block < sizes[name] for block in blocks):
                raise InputError(
                    f"non_local_after has {name!r}: {tuple(blocks)}, but the bottlenecks are counted from 0 and their "
                    f"numbers are {', '.join(f'{n}: {s}' for n, s in sizes.items())}"
                )
        check_branches(self.ral)
        if "t" in self.ral and clips.shape[1] != self.clip_length:
            raise InputError(
                f"the clip has {clips.shape[1]} frames and the model's temporal attention was built for clip_length = "
                f"{self.clip_length}; set clip_length, or leave 't' out of ral"
            )


_COMMON = (
    "width",
    "stage_sizes",
    "last_stride",
    "non_local_after",
    "non_local_scale",
    "non_local_subsample",
    "dtype",
    "remat",
)
_RAL = ("clip_length", "ral")
_M3D = ("temporal_scales", "stem_m3d", "temporal_stride", "m3d_scale", "m3d_init", "m3d_blocks", "released")
_IN_TIME = ("stem_length", "temporal_strides", "temporal_shortcut", "temporal_pool")
_CLIPS = {"last_stride": 2, "temporal_strides": STRIDED_STAGES}

register("resnet50", ResNet, (*_COMMON, "stem_relu", "stem_pool"), {"kind": "2d", "last_stride": 1}, clip_length=1)
register("resnet50_m3d", ResNet, _COMMON + _RAL + _M3D, {"kind": "m3d", "last_stride": 2, "ral": "sct"})
# Of Hara et al.: 16 frames of 112x112 with values up to 255, from which they subtract the mean of ActivityNet.
register(
    "resnet3d_50",
    ResNet,
    _COMMON + _IN_TIME,
    {"kind": "inflated", "stem_length": 7, "last_stride": 2, "temporal_strides": (1, 2, 1, 2, 2, 2)},
    mean=(114.7748 / 255, 107.7354 / 255, 99.475 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    input_size=(112, 112),
    clip_length=16,
)
# Time is not strided in stem and pool, or clips of 8 frames would vanish (a choice). With all temporal strides 1,
# res3 has 32 x 16 x 8 positions for 256x128.
register(
    "resnet50_separable",
    ResNet,
    _COMMON + _RAL + _IN_TIME,
    {"kind": "separable", "stem_length": 7, "temporal_shortcut": "mean", "temporal_pool": False, **_CLIPS},
)
# The comparison networks of the M3D paper.
register("resnet50_i3d", ResNet, _COMMON + _IN_TIME, {"kind": "inflated", "stem_length": 3, **_CLIPS})
for _letter in "abc":
    register(f"resnet50_p3d_{_letter}", ResNet, (*_COMMON, "temporal_strides"), {"kind": f"p3d_{_letter}", **_CLIPS})
