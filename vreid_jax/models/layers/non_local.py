"""The non-local block (Wang et al. 2018; Eq. 3-6 of the 3-D ResNet paper) over clips or over single frames."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vreid_jax.models.layers.norm import BatchNorm
from vreid_jax.models.ops.onednn import has_onednn
from vreid_jax.models.ops.pool import max_pool_blocks

QUERIES_AT_ONCE = 512


def attend(
    theta: Float[Array, "B N C"], phi: Float[Array, "B M C"], g: Float[Array, "B M D"], scale: float = 1.0
) -> Float[Array, "B N D"]:
    """Return Σ_j softmax_j(scale θ_i·φ_j) g_j (Eq. 4, 5), logits and softmax in float32.

    The positions i are taken `QUERIES_AT_ONCE` at a time, so the temporaries of a pass are those of one part and never
    of the whole [B, N, M]; the backward pass computes each part again, none is kept. (`jax.nn.dot_product_attention`
    holds the whole [B, N, M] except with cuDNN, whose heads are too narrow for these channels.)
    """
    size = theta.shape[1]
    parts = -(-size // QUERIES_AT_ONCE)
    if parts == 1:
        return jax.checkpoint(partial(_attend, scale=scale))(theta, phi, g)
    rows = -(-size // parts)
    padded = jnp.pad(theta, ((0, 0), (0, parts * rows - size), (0, 0)))
    queries = padded.reshape(theta.shape[0], parts, rows, -1).swapaxes(0, 1)
    if has_onednn():
        values: Array = _one_after_another(scale, queries, phi, g)
    else:
        # Nothing inside a loop can be merged with the forward pass, so no barrier is needed.
        part = jax.checkpoint(partial(_attend, scale=scale), prevent_cse=False)
        values = lax.map(lambda query: part(query, phi, g), queries)
    return values.swapaxes(0, 1).reshape(theta.shape[0], parts * rows, -1)[:, :size]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _one_after_another(
    scale: float, queries: Float[Array, "P B R C"], phi: Float[Array, "B M C"], g: Float[Array, "B M D"]
) -> Float[Array, "P B R D"]:
    """Attend with each of the parts without a loop.

    While it compiles, XLA with oneDNN has its interpreter run one turn of every loop that a matrix product depends on,
    which takes minutes each. Every part depends on the one before it, also in the backward pass, so that the compiler
    does not hold the temporaries of all of them at once.
    """
    values, tie = [], jnp.zeros((), queries.dtype)
    for query in queries:
        values.append(_attend(query + tie, phi, g, scale=scale))
        tie = 0 * values[-1][:, :1, :1].astype(queries.dtype)
    return jnp.stack(values)


def _with_arguments(scale: float, *arguments: Array) -> tuple[Array, tuple[Array, ...]]:
    return _one_after_another(scale, *arguments), arguments


def _gradients(scale: float, arguments: tuple[Array, Array, Array], towards: Array) -> tuple[Array, Array, Array]:
    """Compute each part again and return the gradients to `queries`, `phi` and `g`."""
    queries, phi, g = arguments
    to_queries, to_phi, to_g = [], jnp.zeros_like(phi), jnp.zeros_like(g)
    tie = jnp.zeros((), queries.dtype)
    for query, to_value in zip(queries, towards, strict=True):
        _, backward = jax.vjp(partial(_attend, scale=scale), query + tie, phi, g)
        to_query, more_phi, more_g = backward(to_value)
        to_queries.append(to_query)
        to_phi, to_g = to_phi + more_phi, to_g + more_g
        tie = 0 * (to_query[:, :1, :1] + to_phi[:, :1, :1] + to_g[:, :1, :1]).astype(queries.dtype)
    return jnp.stack(to_queries), to_phi, to_g


_one_after_another.defvjp(_with_arguments, _gradients)


def attention_logits(theta: Float[Array, "B N C"], phi: Float[Array, "B M C"], scale: float) -> Float[Array, "B N M"]:
    """Return the logits scale θ_i·φ_j, summed and kept in float32 whatever the dtype of θ and φ."""
    return scale * jnp.einsum("bnc,bmc->bnm", theta, phi, preferred_element_type=jnp.float32)


def _attend(theta: Array, phi: Array, g: Array, *, scale: float) -> Array:
    """Attend with all queries at once."""
    logits = attention_logits(theta, phi, scale)
    # Dividing after the product saves one pass over [B, N, M].
    weights = jnp.exp(logits - lax.stop_gradient(logits.max(-1, keepdims=True)))
    values = jnp.einsum("bnm,bmd->bnd", weights.astype(g.dtype), g, preferred_element_type=jnp.float32)
    return (values / weights.sum(-1)[..., None]).astype(g.dtype)


class NonLocal(nn.Module):
    """z = x + BN(W y), y_i = Σ_j softmax_j(θ_i·φ_j) g_j over all positions of the clip (embedded Gaussian).

    θ, φ and g are 1x1x1 convolutions with bias to half of the channels; the scale of the batch norm starts at zero,
    so the block starts as the identity. `scale` multiplies the logits (1, as in the paper, leaves them as they are);
    `subsample` max-pools φ and g over 2x2 positions of a frame; `per_frame` attends within each frame alone (the 2-D
    block). θ [B, T, H, W, C/2] and φ are sown as intermediates `theta_map` and `phi_map`, to draw the attention.
    """

    scale: float = 1.0
    subsample: bool = False
    per_frame: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool = False) -> Float[Array, "B T H W C"]:
        """Add to each position what it attends to."""
        channels = max(1, x.shape[-1] // 2)
        theta, phi, g = (self._point(channels, name)(x) for name in ("theta", "phi", "g"))
        if self.subsample:
            phi, g = (max_pool_blocks(each, (1, 2, 2)) for each in (phi, g))
        self.sow("intermediates", "theta_map", theta)
        self.sow("intermediates", "phi_map", phi)
        y = attend(self._positions(theta), self._positions(phi), self._positions(g), self.scale)
        y = self._point(x.shape[-1], "out")(y.reshape(*x.shape[:4], channels))
        norm = BatchNorm(not train, dtype=self.dtype, scale_init=nn.initializers.zeros, name="bn")
        return x + norm(y)

    def _positions(self, x: Array) -> Array:
        """Reshape to [B, T H W, C], or with `per_frame` to [B T, H W, C]."""
        groups = x.shape[0] * x.shape[1] if self.per_frame else x.shape[0]
        return x.reshape(groups, -1, x.shape[-1])

    def _point(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=name)
