"""Similarity of two tracklets from the similarities of all pairs of their clips: the top-t % rule."""

# Types that JAX leaves unknown: of `device` in its signatures, and of what a jitted function returns.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import typing as npt

from vreid_jax.errors import InputError
from vreid_jax.retrieval.block_size import block_bytes

ArrayLike = Array | np.ndarray


def top_t_similarity(
    similarities: Float[ArrayLike, "*batch M N"], t: float | int, valid: Bool[ArrayLike, "*batch M N"] | None = None
) -> Float[Array, "*batch"]:
    """Average the `ceil(t·n/100)` highest of the n clip-pair similarities (clip similarity, equation 9).

    A JAX function in float32, which can be differentiated and jitted.

    Args:
      similarities: [..., M, N] similarity of each pair of clips.
      t: a percentage in (0, 100].
      valid: [..., M, N] which pairs exist; all by default.

    Returns:
      [...] the similarity of the tracklets; NaN where no pair exists.

    Raises:
      InputError: for a `t` outside (0, 100].
    """
    _check_percentage(t)
    flat = jnp.asarray(similarities, jnp.float32).reshape(*similarities.shape[:-2], -1)
    exists = jnp.ones(flat.shape, bool) if valid is None else jnp.asarray(valid).reshape(flat.shape)
    count = exists.sum(axis=-1, keepdims=True)
    chosen = jnp.ceil(t / 100 * count - 1e-4)  # rounding may lift a product just above the integer that it is
    ordered = -jnp.sort(jnp.where(exists, -flat, jnp.inf), axis=-1)
    taken = (jnp.arange(flat.shape[-1]).reshape((1,) * (flat.ndim - 1) + (-1,)) < chosen) & jnp.isfinite(ordered)
    return jnp.where(taken, ordered, 0.0).sum(axis=-1) / jnp.where(chosen > 0, chosen, jnp.nan)[..., 0]


def top_t_distance(
    query_clips: npt.ArrayLike,
    gallery_clips: npt.ArrayLike,
    t: float | int,
    query_valid: npt.ArrayLike | None = None,
    gallery_valid: npt.ArrayLike | None = None,
    *,
    max_bytes: int | None = None,
) -> np.ndarray:
    """Compute distances 1 - top-t % cosine similarity between tracklets given as sets of clip features.

    Args:
      query_clips: [Q, M, D] features of the clips of each query.
      gallery_clips: [G, N, D] features of the clips of each gallery tracklet.
      t: a percentage in (0, 100], as for `top_t_similarity`.
      query_valid: [Q, M] which clips exist, for tracklets with different numbers of clips; all by default.
      gallery_valid: [G, N] likewise.
      max_bytes: memory for a block of similarities; `block_bytes` by default.

    Returns:
      [Q, G] float32.

    Raises:
      InputError: for shapes that do not fit, NaN, a tracklet without a clip, and a `t` outside (0, 100].
    """
    _check_percentage(t)
    query, query_exists = _unit_clips("query_clips", query_clips, query_valid)
    gallery, gallery_exists = _unit_clips("gallery_clips", gallery_clips, gallery_valid)
    if query.shape[2] != gallery.shape[2]:
        raise InputError(
            f"query_clips has {query.shape[2]} dimensions and gallery_clips has {gallery.shape[2]}; they must agree."
        )
    max_bytes = block_bytes() if max_bytes is None else max_bytes
    rows = max(1, int((max_bytes / (24 * query.shape[1] * gallery.shape[1])) ** 0.5))
    result = np.empty((len(query), len(gallery)), np.float32)
    for top in range(0, len(query), rows):
        for left in range(0, len(gallery), rows):
            down, across = slice(top, top + rows), slice(left, left + rows)
            block = _distance_block(query[down], gallery[across], query_exists[down], gallery_exists[across], t)
            result[down, across] = np.asarray(block)
    return result


@functools.partial(jax.jit, static_argnames="t")
def _distance_block(
    query: jax.Array, gallery: jax.Array, query_valid: jax.Array, gallery_valid: jax.Array, t: float | int
) -> jax.Array:
    similarities = jnp.einsum("qmd,gnd->qgmn", query, gallery, precision=jax.lax.Precision.HIGHEST)
    exists = query_valid[:, None, :, None] & gallery_valid[None, :, None, :]
    return 1.0 - top_t_similarity(similarities, t, exists)


def _unit_clips(name: str, values: npt.ArrayLike, valid: npt.ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return clip features scaled to length 1, and which of them exist."""
    clips: np.ndarray = np.asarray(values, np.float32)
    if clips.ndim != 3 or 0 in clips.shape:
        raise InputError(f"{name} must be [tracklets, clips, D], none of them 0, not of shape {clips.shape}.")
    exists: np.ndarray = np.ones(clips.shape[:2], bool) if valid is None else np.asarray(valid, bool)
    if exists.shape != clips.shape[:2]:
        raise InputError(f"The mask of {name} must be of shape {clips.shape[:2]}, not {exists.shape}.")
    if not exists.any(axis=1).all():
        raise InputError(f"{name}: tracklet {np.flatnonzero(~exists.any(axis=1))[0]} has no clip.")
    clips = np.where(exists[:, :, None], clips, 0.0)
    if not np.isfinite(clips).all():
        raise InputError(f"{name} has NaN or infinite values.")
    norm = np.sqrt(np.einsum("nmd,nmd->nm", clips, clips, dtype=np.float64))[:, :, None]
    return clips / np.where(norm > 0, norm, 1.0).astype(np.float32), exists


def _check_percentage(t: float | int) -> None:
    if not 0.0 < t <= 100.0:
        raise InputError(f"t is a percentage in (0, 100], not {t}.")
