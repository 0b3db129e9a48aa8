"""Residual networks with bottlenecks, over frames and over clips, as one parametrised module."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.bottleneck import Bottleneck
from vreid_jax.models.layers.conv3d import Conv, max_pool_3x3_stride2, spatial_padding
from vreid_jax.models.layers.m3d import M3D, num_scales
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.layers.residual_attention import ResidualAttention, check_branches
from vreid_jax.models.registry import register

KINDS = ("2d", "m3d")


class ResNet(nn.Module):
    """A bottleneck ResNet over [B, T, H, W, 3].

    `kind` "2d" treats every frame alone; "m3d" puts an `M3D` layer into the first bottleneck of each stage, with
    `stem_m3d` also behind the stem, and with `temporal_stride` halves time in stages 2-4; `m3d_scale` is what the
    scale of their batch norms starts at, zero for a network that starts as the 2-D one.
    `width` is the number of channels of the stem (64 in ResNet-50), `last_stride` the spatial stride of stage 4.
    `ral` are the branches ("s", "c", "t") of a residual attention layer behind each of stages 1-3, none if empty;
    `clip_length` the T that temporal kernels and temporal attention are built for. `released` computes what the
    released code of the M3D paper does: `temporal_scales` "log2" and other places of ReLU.
    `remat` recomputes each bottleneck in the backward pass. Parameters are float32, `dtype` is what computes.
    """

    kind: str = "2d"
    width: int = 64
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    last_stride: int = 1
    clip_length: int = 8
    temporal_scales: str = "paper"
    stem_m3d: bool = True
    temporal_stride: bool = True
    m3d_scale: float = 0.0
    ral: str = ""
    released: bool = False
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, clips: Float[Array | np.ndarray, "B T H W 3"], train: bool = False) -> dict[str, Array]:
        """Endpoints `stem` (before the pool), `res2` ... (before the attention) [B, t, h, w, C] and `pooled`, float32.

        `clips` are normalised floats. `pooled` is [B, T, C] for kind "2d", [B, C] otherwise. A clip of another length
        than `clip_length` is an `InputError` where temporal attention has it in its weights.
        """
        self._check(clips)
        x = jnp.asarray(clips, self.dtype)
        x = Conv(self.width, (7, 7), (1, 2, 2), spatial_padding(7), dtype=self.dtype, name="conv1")(x)
        x = nn.relu(BatchNorm(not train, dtype=self.dtype, name="bn1")(x))
        length = self.clip_length
        if self.kind == "m3d" and self.stem_m3d:
            x = M3D(
                self._scales(length),
                released=self.released,
                initial_scale=self.m3d_scale,
                dtype=self.dtype,
                name="m3d",
            )(x, train)
        outputs = {"stem": x}
        x = max_pool_3x3_stride2(x)
        block_class = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat else Bottleneck
        for stage, blocks in enumerate(self.stage_sizes):
            halves = self.kind == "m3d" and self.temporal_stride and stage > 0
            for block in range(blocks):
                first = block == 0
                x = block_class(
                    width=self.width * 2**stage,
                    stride=self._stride(stage) if first else 1,
                    project=first,
                    scales=self._scales(length) if first and self.kind == "m3d" else 0,
                    temporal_stride=2 if first and halves else 1,
                    released=self.released,
                    m3d_scale=self.m3d_scale,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{block}",
                )(x, train)
            length = -(-length // 2) if halves else length
            outputs[f"res{stage + 2}"] = x
            if self.ral and stage < 3:
                x = ResidualAttention(length, self.ral, self.released, name=f"attention{stage + 1}")(x, train)
        axes = (2, 3) if self.kind == "2d" else (1, 2, 3)
        outputs["pooled"] = x.astype(jnp.float32).mean(axes)
        return outputs

    def _stride(self, stage: int) -> int:
        if stage == 0:
            return 1
        return self.last_stride if stage == 3 else 2

    def _scales(self, length: int) -> int:
        return num_scales(length, "log2" if self.released else self.temporal_scales)

    def _check(self, clips) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind of ResNet is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.last_stride not in (1, 2):
            raise InputError(f"last_stride is {self.last_stride}, expected 1 or 2")
        check_branches(self.ral)
        if "t" in self.ral and clips.shape[1] != self.clip_length:
            raise InputError(
                f"the clip has {clips.shape[1]} frames and the model's temporal attention was built for clip_length = "
                f"{self.clip_length}; set clip_length, or leave 't' out of ral"
            )


_COMMON = ("width", "stage_sizes", "last_stride", "dtype", "remat")
_M3D = ("clip_length", "temporal_scales", "stem_m3d", "temporal_stride", "m3d_scale", "ral", "released")

register("resnet50", ResNet, _COMMON, {"kind": "2d", "last_stride": 1}, clip_length=1)
register("resnet50_m3d", ResNet, _COMMON + _M3D, {"kind": "m3d", "last_stride": 2, "ral": "sct"})
