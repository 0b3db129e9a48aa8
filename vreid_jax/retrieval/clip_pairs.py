"""From the similarities of all pairs of clips to one similarity of two tracklets: the top-t % rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vreid_jax.errors import InputError
from vreid_jax.retrieval.distances import MAX_BYTES

ArrayLike = Array | np.ndarray


def top_t_similarity(
    similarities: Float[ArrayLike, "*batch M N"], t: float | int, valid: Bool[ArrayLike, "*batch M N"] | None = None
) -> Float[Array, "*batch"]:
    """Mean of the `ceil(t·n/100)` highest of the n clip-pair similarities [..., M, N] (clip similarity, equation 9).

    `t` is a percentage in (0, 100]; pairs where `valid` is False do not exist, and without any the result is NaN.
    A JAX function, float32: it can be differentiated and jitted. Raises `InputError` for another `t`.
    """
    _check(t)
    flat = jnp.asarray(similarities, jnp.float32).reshape(*similarities.shape[:-2], -1)
    exists = jnp.ones(flat.shape, bool) if valid is None else jnp.asarray(valid).reshape(flat.shape)
    count = exists.sum(axis=-1, keepdims=True)
    chosen = jnp.ceil(t / 100 * count - 1e-4)  # a rounded product just above a whole number is that number
    ordered = -jnp.sort(jnp.where(exists, -flat, jnp.inf), axis=-1)
    taken = (jnp.arange(flat.shape[-1]).reshape((1,) * (flat.ndim - 1) + (-1,)) < chosen) & jnp.isfinite(ordered)
    return jnp.where(taken, ordered, 0.0).sum(axis=-1) / jnp.where(chosen > 0, chosen, jnp.nan)[..., 0]


def top_t_distance(
    query_clips, gallery_clips, t: float | int, query_valid=None, gallery_valid=None, *, max_bytes: int = MAX_BYTES
) -> np.ndarray:
    """1 - top-t % cosine similarity, [Q, G] float32, of tracklets as clips [Q, M, D] and [G, N, D].

    `query_valid` [Q, M] and `gallery_valid` [G, N] say which clips exist, where tracklets have different numbers of
    clips; each must have one. Takes the gallery in blocks within `max_bytes`.
    Raises `InputError` for shapes that do not fit, NaN, a tracklet without a clip, and a `t` outside (0, 100].
    """
    _check(t)
    query, query_valid = _clips("query_clips", query_clips, query_valid)
    gallery, gallery_valid = _clips("gallery_clips", gallery_clips, gallery_valid)
    if query.shape[2] != gallery.shape[2]:
        raise InputError(f"query_clips have {query.shape[2]} dimensions and gallery_clips {gallery.shape[2]}.")
    rows = max(1, int((max_bytes / (24 * query.shape[1] * gallery.shape[1])) ** 0.5))
    result = np.empty((len(query), len(gallery)), np.float32)
    for top in range(0, len(query), rows):
        for left in range(0, len(gallery), rows):
            down, across = slice(top, top + rows), slice(left, left + rows)
            block = _block(query[down], gallery[across], query_valid[down], gallery_valid[across], t)
            result[down, across] = np.asarray(block)
    return result


@functools.partial(jax.jit, static_argnames="t")
def _block(query, gallery, query_valid, gallery_valid, t):
    similarities = jnp.einsum("qmd,gnd->qgmn", query, gallery, precision=jax.lax.Precision.HIGHEST)
    exists = query_valid[:, None, :, None] & gallery_valid[None, :, None, :]
    return 1.0 - top_t_similarity(similarities, t, exists)


def _clips(name: str, values, valid) -> tuple[np.ndarray, np.ndarray]:
    clips = np.asarray(values, np.float32)
    if clips.ndim != 3 or 0 in clips.shape:
        raise InputError(f"{name} must be [tracklets, clips, D], none of them 0, not of shape {clips.shape}.")
    valid = np.ones(clips.shape[:2], bool) if valid is None else np.asarray(valid, bool)
    if valid.shape != clips.shape[:2]:
        raise InputError(f"The mask of {name} must be of shape {clips.shape[:2]}, not {valid.shape}.")
    if not valid.any(axis=1).all():
        raise InputError(f"{name}: tracklet {np.flatnonzero(~valid.any(axis=1))[0]} has no clip.")
    clips = np.where(valid[:, :, None], clips, 0.0)
    if not np.isfinite(clips).all():
        raise InputError(f"{name} has NaN or infinite values.")
    norm = np.sqrt(np.einsum("nmd,nmd->nm", clips, clips, dtype=np.float64))[:, :, None]
    return clips / np.where(norm > 0, norm, 1.0).astype(np.float32), valid


def _check(t: float | int) -> None:
    if not 0.0 < t <= 100.0:
        raise InputError(f"t is a percentage in (0, 100], not {t}.")
