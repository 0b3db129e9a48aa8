"""The aggregation of clip similarities against a loop in float64 written from the paper's equations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError
from vreid_jax.losses import batch_hard_triplet_from_distances
from vreid_jax.models.layers.clip_similarity import ClipAggregation, average_similarity, clip_cosines, top_t
from vreid_jax.models.layers.norm import l2_normalize
from vreid_jax.models.systems.clip_similarity import Projection
from vreid_jax.retrieval import top_t_similarity

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}
M, N, D = 3, 2, 6
LAYER = ClipAggregation(hidden=(5, 4), dropout=0.5)


def clips(seed, tracklets, count, depth=D):
    x = np.random.default_rng(seed).standard_normal((tracklets, count, depth))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def variables():
    """Random everywhere, so that no scale of 1 or mean of 0 hides a mistake."""
    shapes = jax.eval_shape(
        lambda: LAYER.init(jax.random.key(0), jnp.float32(clips(0, 2, M)), jnp.float32(clips(1, 3, N)))
    )
    rng = np.random.default_rng(2)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: (
            rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
            if path[-1].key in ("var", "scale")
            else rng.standard_normal(x.shape).astype(np.float32)
        ),
        shapes,
    )


def importance(variables, x):
    """g of the paper: two hidden layers of Dense, ReLU and batch norm, then softplus."""
    params, stats = (variables[c]["importance"] for c in ("params", "batch_stats"))
    for i in "12":
        x = np.maximum(x @ np.float64(params[f"dense{i}"]["kernel"]) + params[f"dense{i}"]["bias"], 0)
        norm, moments = params[f"bn{i}"], stats[f"bn{i}"]
        x = (x - moments["mean"]) / np.sqrt(moments["var"] + 1e-5) * norm["scale"] + norm["bias"]
    return np.log1p(np.exp(x @ np.float64(params["score"]["kernel"])[:, 0] + params["score"]["bias"][0]))


def by_the_equations(variables, query, gallery):
    """Eq. 1-3 for one pair of tracklets, pair of clips by pair of clips; and r for Eq. 4."""
    alphas, seen, r = [], [], np.zeros(D)
    for q in query:
        for g in gallery:
            c = q * g
            alphas.append(importance(variables, r - c))
            seen.append(c)
            r = sum(a * c for a, c in zip(alphas, seen, strict=True)) / sum(alphas)
    cosines = [q @ g / np.linalg.norm(q) / np.linalg.norm(g) for q in query for g in gallery]
    return np.dot(alphas, cosines) / sum(alphas), np.array(alphas).reshape(len(query), len(gallery)), r


@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_scan_equals_the_loop_of_the_equations(variables, jit, xla_as_users_have_it):
    query, gallery = clips(0, 2, M), clips(1, 3, N)
    apply = jax.jit(LAYER.apply, compiler_options=xla_as_users_have_it) if jit else LAYER.apply
    similarity, alpha = apply(variables, jnp.float32(query), jnp.float32(gallery))
    assert alpha.shape == (2, 3, M, N)
    for q in range(2):
        for g in range(3):
            expected, alphas, r = by_the_equations(variables, query[q], gallery[g])
            np.testing.assert_allclose(similarity[q, g], expected, atol=1e-5)
            np.testing.assert_allclose(similarity[q, g], r.sum(), atol=1e-5)  # Eq. 4
            np.testing.assert_allclose(alpha[q, g], alphas, rtol=1e-4, atol=1e-6)


def test_hidden_layers_in_bfloat16_stay_within_its_accuracy_of_the_equations(variables):
    """As accelerators run them: eight bits of a number, in the hidden layers alone."""
    query, gallery = clips(0, 2, M), clips(1, 3, N)
    layer = ClipAggregation(hidden=(5, 4), dropout=0.5, dtype="bfloat16")
    given = jnp.float32(query), jnp.float32(gallery)
    similarity, alpha = jax.jit(layer.apply, compiler_options=QUICK)(variables, *given)
    assert similarity.dtype == alpha.dtype == jnp.float32
    expected, alphas = np.zeros((2, 3)), np.zeros((2, 3, M, N))
    for q in range(2):
        for g in range(3):
            expected[q, g], alphas[q, g], _ = by_the_equations(variables, query[q], gallery[g])
    unit = 2.0**-8  # the largest error of rounding a number, relative to it
    np.testing.assert_allclose(alpha, alphas, rtol=8 * unit, atol=8 * unit)
    np.testing.assert_allclose(similarity, expected, atol=4 * unit)
    full = LAYER.apply(variables, *given)[1]
    assert np.abs(alpha - alphas).max() > 20 * np.abs(full - alphas).max()  # the hidden layers were in bfloat16


def test_gradient_equals_differences_of_the_equations(variables):
    query, gallery = clips(0, 1, M), clips(1, 1, N)

    def similarity(params, q):
        return LAYER.apply({**variables, "params": params}, q, jnp.float32(gallery))[0][0, 0]

    gradients = jax.jit(jax.grad(similarity, argnums=(0, 1)), compiler_options=QUICK)
    grads, of_query = gradients(variables["params"], jnp.float32(query))

    def shifted(path, index, step):
        changed = jax.tree.map(np.float64, variables)
        at = changed["params"]["importance"][path[0]][path[1]]
        at[index] += step
        return by_the_equations(changed, query[0], gallery[0])[0]

    for path, index in ((("dense1", "kernel"), (2, 1)), (("bn1", "scale"), (0,)), (("score", "kernel"), (1, 0))):
        expected = (shifted(path, index, 1e-5) - shifted(path, index, -1e-5)) / 2e-5
        np.testing.assert_allclose(grads["importance"][path[0]][path[1]][index], expected, rtol=2e-2, atol=2e-6)
    moved = [query[0] + step * np.eye(M * D)[4].reshape(M, D) for step in (1e-5, -1e-5)]
    # Eq. 4, that is without the norms of Eq. 3, which would move too.
    plus, minus = (by_the_equations(variables, x, gallery[0])[2].sum() for x in moved)
    np.testing.assert_allclose(of_query[0].reshape(-1)[4], (plus - minus) / 2e-5, rtol=1e-2, atol=1e-5)


def test_training_uses_statistics_of_all_pairs_and_moves_the_stored_ones(variables):
    query, gallery = jnp.float32(clips(0, 4, M)), jnp.float32(clips(1, 5, N))

    @partial(jax.jit, compiler_options=QUICK)
    def both():
        trained = LAYER.apply(
            variables, query, gallery, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )
        return trained, LAYER.apply(variables, query, gallery)

    ((similarity, alpha), changed), plain = both()
    assert np.isfinite(similarity).all()
    assert np.abs(alpha - plain[1]).max() > 0.01
    before, after = (tree["importance"]["bn1"]["mean"] for tree in (variables["batch_stats"], changed["batch_stats"]))
    # Each of the M·N steps keeps 99 % of the mean; the rest are means of a layer behind ReLU and dropout, 0 or above.
    assert (after >= np.minimum(0.99 ** (M * N) * before, before) - 1e-6).all()
    assert np.abs(after - before).max() > 1e-3


def test_equal_importances_are_the_average_and_vanishing_ones_stay_finite(variables):
    query, gallery = jnp.float32(clips(0, 2, M)), jnp.float32(clips(1, 3, N))
    mean = np.einsum("qmd,gnd->qg", query, gallery) / (M * N)

    @partial(jax.jit, compiler_options=QUICK)
    def value_and_gradients(params):
        return jax.value_and_grad(lambda p: LAYER.apply({**variables, "params": p}, query, gallery)[0].sum())(params)

    for score in (0.7, -40.0, -200.0):
        flat = jax.tree.map(np.copy, variables)
        flat["params"]["importance"]["score"] = {"kernel": np.zeros((4, 1), np.float32), "bias": np.float32([score])}
        value, grads = value_and_gradients(flat["params"])
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
        if score == 0.7:
            np.testing.assert_allclose(value, mean.sum(), rtol=1e-5)
        assert np.isfinite(value)


def test_every_tensor_of_the_second_phase_gets_a_gradient():
    features = jnp.float32(clips(0, 6, 3, 8) + clips(1, 6, 1, 8))  # what the clips of a tracklet share, and noise
    labels = np.repeat(np.arange(3), 2)
    aggregation, projection = ClipAggregation(hidden=(8, 8)), Projection()
    key = jax.random.key(0)
    params = {
        "aggregation": jax.jit(aggregation.init, compiler_options=QUICK)(key, features, features),
        "projection": projection.init(key, features),
    }

    def loss(params):
        variables = params["aggregation"]
        learned, _ = aggregation.apply(
            variables,
            l2_normalize(features),
            l2_normalize(features),
            True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        projected = projection.apply(params["projection"], l2_normalize(features))
        both = (learned[0], top_t(clip_cosines(projected, projected), 50))
        return sum(batch_hard_triplet_from_distances(-similarity, labels, margin=1.0) for similarity in both)

    gradients = jax.jit(jax.grad(loss), compiler_options=QUICK)(params)
    for part in params:
        for (path, gradient), value in zip(
            jax.tree_util.tree_leaves_with_path(gradients[part]["params"]),
            jax.tree.leaves(params[part]["params"]),
            strict=True,
        ):
            scale = float(np.abs(value).max()) or 1.0
            assert np.abs(gradient).max() > 1e-6 * scale, (part, path)


def test_top_t_and_its_gradient_at_few_and_all_pairs():
    rng = np.random.default_rng(0)
    x = jnp.float32(rng.standard_normal((2, 3, 4, 4)))
    for t in (1, 10, 20, 50, 93.75, 100):
        np.testing.assert_allclose(top_t(x, t), top_t_similarity(x, t), atol=1e-6)
    by_hand = jnp.float32([0.9, 0.1, 0.5, 0.3]).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(top_t(by_hand, 50), [[0.7]], rtol=1e-6)
    np.testing.assert_allclose(top_t(by_hand, 51), [[1.7 / 3]], rtol=1e-6)
    # Only the chosen pairs get a gradient, as in training with the rule.
    np.testing.assert_allclose(jax.grad(lambda x: top_t(x, 50).sum())(by_hand).reshape(-1), [0.5, 0, 0.5, 0])
    with pytest.raises(InputError, match="percentage"):
        top_t(by_hand, 0)


def test_averages_with_and_without_normalisation():
    rng = np.random.default_rng(0)
    query, gallery = rng.uniform(0, 3, (2, 4, 5)), rng.uniform(0, 3, (3, 4, 5))
    for normalize in (True, False):
        a, b = ((x / np.linalg.norm(x, axis=-1, keepdims=True) if normalize else x).mean(1) for x in (query, gallery))
        expected = 1 - np.square(a[:, None] - b[None]).sum(-1) / 2
        np.testing.assert_allclose(
            average_similarity(jnp.float32(query), jnp.float32(gallery), normalize), expected, rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(clip_cosines(jnp.float32(query), jnp.float32(query))[0, 0].diagonal(), 1.0, rtol=1e-5)
    zero = jax.grad(lambda x: l2_normalize(x).sum())(jnp.zeros((1, 3)))
    assert np.isfinite(zero).all()


@pytest.mark.parametrize(("kind", "t"), [("learned", 100), ("top_t", 50), ("average", 100)])
def test_no_similarity_passes_its_bound(variables, kind, t):
    module = models.create("clip_similarity", hidden=(5, 4))
    kernel = np.random.default_rng(3).standard_normal((D, D)).astype(np.float32)
    projection = {"dense": {"kernel": kernel, "bias": np.full(D, 0.1, np.float32)}}
    own = {
        "params": {"aggregation": variables["params"], "projection": projection},
        "batch_stats": {"aggregation": variables["batch_stats"]},
    }
    query, gallery = (jnp.float32(3 * clips(seed, count, M)) for seed, count in ((4, 5), (5, 7)))
    found, bound = jax.jit(
        lambda v: tuple(module.apply(v, query, gallery, kind, t, method=m) for m in ("similarity", "similarity_bound")),
        compiler_options=QUICK,
    )(own)
    assert (found <= bound + 1e-6).all()
    if kind != "average":
        cosines = np.einsum("qmd,gnd->qgmn", *(clips(seed, count, M) for seed, count in ((4, 5), (5, 7))))
        if kind == "top_t":
            projected = [clips(seed, count, M) @ kernel + 0.1 for seed, count in ((4, 5), (5, 7))]
            units = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in projected]
            cosines = np.einsum("qmd,gnd->qgmn", *units)
        np.testing.assert_allclose(bound, cosines.max((2, 3)), atol=1e-5)
