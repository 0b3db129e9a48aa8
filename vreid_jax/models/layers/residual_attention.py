"""The residual attention layer (RAL) of the two-stream M3D paper (Eq. 7-12)."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense
from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.ops.conv3d import Conv, spatial_padding
from vreid_jax.settings import Rule, check

Branches = Annotated[
    str,
    Rule(
        lambda letters: len(set(letters)) == len(letters) and not set(letters) - set("sct"),
        "it is distinct letters out of 's', 'c', 't', or '' for none",
    ),
]
REDUCTION = 16
_HE = nn.initializers.he_normal()
_LECUN = nn.initializers.lecun_normal()


def check_branches(branches: str) -> None:
    """Raise `InputError` unless `branches` are distinct letters out of s, c and t."""
    check(branches, Branches, "ral")


class ResidualAttention(nn.Module):
    """y = x / 2 + M x with M = sigmoid(S C T), the product of spatial, channel and temporal masks (Eq. 7, 8).

    `branches` holds the letters of the masks in use; `length` is T. All is computed in float32. The last convolution of
    exactly one branch starts at zero, so that M = 1/2, the layer is the identity, and the product still has a gradient.
    `released` follows the released code: convolution, ReLU, batch norm (default: convolution, batch norm, ReLU), and a
    channel branch that ends in a ReLU, before which a zero would never learn.
    """

    length: int
    branches: str = "sct"
    released: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W C"]:
        """Weigh the features.

        Raises:
          InputError: when the temporal mask is in use and T is not `length`.
        """
        check_branches(self.branches)
        if "t" in self.branches and x.shape[1] != self.length:
            raise InputError(f"temporal attention was built for {self.length} frames here, got {x.shape[1]}")
        f = x.astype(jnp.float32)
        product = jnp.ones((1, 1, 1, 1, 1), jnp.float32)
        if "s" in self.branches:
            product = product * self._spatial(f, train)
        if "c" in self.branches:
            product = product * self._channel(f, train)
        if "t" in self.branches:
            product = product * self._temporal(f, train)
        return (f * (0.5 + jax.nn.sigmoid(product))).astype(x.dtype)

    def _spatial(self, f: Array, train: bool) -> Array:
        """Return the spatial branch S (Eq. 9, 10), [B, 1, H, W, 1]."""
        mean = f.mean(1, keepdims=True)
        hidden = Conv(1, (3, 3), padding=spatial_padding(3), name="conv1_s")(mean)
        hidden = self._activate(hidden, "bn_s", train)
        # One scalar, "a scale parameter for further fusion"; drawn at random, it could start close to zero.
        return Conv(1, (1, 1), kernel_init=self._last_init("s", nn.initializers.ones), name="conv2_s")(hidden)

    def _channel(self, f: Array, train: bool) -> Array:
        """Return the channel branch C (Eq. 11, 12), [B, 1, 1, 1, C]."""
        channels = f.shape[-1]
        hidden = self._dense(max(1, channels // REDUCTION), "conv1_c")(f.mean((1, 2, 3)))
        hidden = self._activate(hidden, "bn_c", train)
        mask = self._dense(channels, "conv2_c", self._last_init("c"))(hidden)
        mask = nn.relu(mask) if self.released else mask
        return mask[:, None, None, None, :]

    def _temporal(self, f: Array, train: bool) -> Array:
        """Return the temporal branch T, [B, T, 1, 1, 1]: the channel branch's layers over time."""
        hidden = self._dense(2 * self.length, "conv1_t")(f.mean((2, 3, 4)))
        hidden = self._activate(hidden, "bn_t", train)
        mask = self._dense(self.length, "conv2_t", self._last_init("t"))(hidden)
        return mask[:, :, None, None, None]

    def _activate(self, x: Array, name: str, train: bool) -> Array:
        """Apply batch norm and ReLU, in the order of the paper or of the released code."""
        norm = BatchNorm(not train, name=name)
        return norm(nn.relu(x)) if self.released else nn.relu(norm(x))

    def _last_init(self, branch: str, otherwise=_LECUN):
        """Return the initialiser of a branch's last convolution: zeros for exactly one of the branches."""
        zero = next((b for b in "tsc" if b in self.branches and not (self.released and b == "c")), None)
        return nn.initializers.zeros if branch == zero else otherwise

    def _dense(self, features: int, name: str, init=_HE) -> nn.Dense:
        return Dense(features, use_bias=False, kernel_init=init, name=name)
