"""3-D part alignment (PersonVLAD): where in a feature cubic each body part is, and what it looks like there."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from vreid_jax.errors import InputError
from vreid_jax.models.layers.dense import Dense

PARTS = ("learned", "stripes", "grid", "global")
POOLINGS = ("average", "max")
DESCRIPTORS = ("parts", "locations", "cubic")
REGIONS = 5  # stripes, and rows and columns of the grid, as in the paper

_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=-2, out_axis=-1, batch_axis=(0,))


class PartMaps(nn.Module):
    """Weights in [0, 1] of every position for every part (PersonVLAD, Eq. 1).

    `parts` is one of: "learned", a 1x1x1 convolution and sigmoid for each of `num_parts` parts; "stripes", 5 horizontal
    regions, and "grid", 5x5 cells, where a position's weight is the share of its area that the region covers; "global",
    one map of ones.
    """

    parts: str = "learned"
    num_parts: int = 6

    @nn.compact
    def __call__(self, cubic: Float[Array, "B t h w C"]) -> Float[Array, "B t h w P"]:
        """Return the maps of a feature cubic, float32."""
        if self.parts not in PARTS:
            raise InputError(f"parts is {self.parts!r}, expected one of {', '.join(PARTS)}")
        if self.parts == "learned":
            return nn.sigmoid(Dense(self.num_parts, name="detector")(cubic.astype(jnp.float32)))
        height, width = cubic.shape[2:4]
        if self.parts == "global":
            regions = np.ones((height, width, 1), np.float32)
        elif self.parts == "stripes":
            regions = np.broadcast_to(overlaps(height, REGIONS)[:, None], (height, width, REGIONS))
        else:
            rows, columns = overlaps(height, REGIONS), overlaps(width, REGIONS)
            regions = np.einsum("hr,wc->hwrc", rows, columns).reshape(height, width, -1)
        return jnp.broadcast_to(jnp.asarray(regions), (*cubic.shape[:2], *regions.shape))


def overlaps(positions: int, regions: int) -> Float[np.ndarray, "positions regions"]:
    """Return the share of each of `positions` equal intervals that lies in each of `regions` equal ones.

    Rows sum to 1.
    """
    low, high = (np.arange(positions) / positions)[:, None], (np.arange(1, positions + 1) / positions)[:, None]
    left, right = np.arange(regions)[None] / regions, np.arange(1, regions + 1)[None] / regions
    return (positions * np.maximum(np.minimum(high, right) - np.maximum(low, left), 0)).astype(np.float32)


class PartDescriptors(nn.Module):
    """Descriptors of the parts of a cubic; parts share no layers.

    With `descriptors` "parts", each part's weighted features (Eq. 2) are pooled over all positions (`pooling` "average"
    or "max") and go through two fully connected layers of `hidden` and `features` units, each followed by a ReLU
    (**choice**). With "locations", every position is projected to `features` for every part; its map is its weight in
    the sum that follows, since normalisation to length 1 would remove a factor (**choice**). With "cubic", every position
    of every part map is taken as it is, with all its channels and without a layer. Since descriptors are compared by
    their direction, all parts have the same one at a position, and what differs between them is the weight.
    """

    hidden: int = 512
    features: int = 256
    descriptors: str = "parts"
    pooling: str = "average"

    @nn.compact
    def __call__(
        self, cubic: Float[Array, "B t h w C"], maps: Float[Array, "B t h w P"]
    ) -> tuple[Float[Array, "B Q L D"], Float[Array, "B P L"] | None]:
        """Return the descriptors of P parts, and with "locations" and "cubic" their weights, else None.

        They are float32 and not normalised; L is 1, or with weights the number t·h·w of positions. Q is P, but 1 with
        "cubic", whose descriptors are those of all parts.
        """
        if self.descriptors not in DESCRIPTORS:
            raise InputError(f"descriptors is {self.descriptors!r}, expected one of {', '.join(DESCRIPTORS)}")
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling is {self.pooling!r}, expected {' or '.join(POOLINGS)}")
        batch, channels, count = cubic.shape[0], cubic.shape[-1], maps.shape[-1]
        cubic = cubic.astype(jnp.float32).reshape(batch, -1, channels)
        maps = maps.reshape(batch, -1, count)
        if self.descriptors == "cubic":
            return cubic[:, None], maps.transpose(0, 2, 1)
        if self.descriptors == "locations":
            kernel = self.param("projection", _fan_in, (count, channels, self.features), jnp.float32)
            return jnp.einsum("blc,pcd->bpld", cubic, kernel), maps.transpose(0, 2, 1)
        if self.pooling == "average":
            pooled = jnp.einsum("blp,blc->bpc", maps, cubic) / cubic.shape[1]
        else:
            pooled = (maps[..., None] * cubic[:, :, None]).max(1)
        for number, size in enumerate((self.hidden, self.features), start=1):
            kernel = self.param(f"kernel{number}", _fan_in, (count, pooled.shape[-1], size), jnp.float32)
            bias = self.param(f"bias{number}", nn.initializers.zeros, (count, size), jnp.float32)
            # Parts first: with clips first, oneDNN has only its slow reference implementation of the sum with the bias.
            pooled = nn.relu(jnp.matmul(pooled.swapaxes(0, 1), kernel) + bias[:, None]).swapaxes(0, 1)
        return pooled[:, :, None], None
