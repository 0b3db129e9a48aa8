"""Every parameter tensor of every model learns within three steps, and gradients do not depend on compilation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vreid_jax import models
from vreid_jax.config import from_file

# Machine code that is not optimised compiles several times faster; the sums are the same.
QUICK = {"xla_backend_optimization_level": 0}

# Tensors without a gradient, each with its reason.
NO_GRADIENT = {
    r".*/head/feature/bias": "a bias before a batch norm, which takes it off again with the mean",
    r"(.*/)?m3d/bn\d/bias": "a constant per channel, carried through the pool or straight through a 1x1x1 convolution "
    "into batch norms, which take it off with the mean",
    r"(.*/)?non_local.*/phi/bias": "the same for all keys, which the softmax over keys does not see",
    r"(.*/)?non_local.*/(g|out)/bias": "a constant before a batch norm",
}

CASES = {
    "c3d": ("c3d", {"width": 2}),
    "c3d_small": ("c3d_small", {"width": 2}),
    "i3d": ("i3d_inception_v1", {"width": 8}),
    "person_vlad": (
        "person_vlad_small",
        {
            "width": 4,
            "part_layer": "conv5b",
            "feature_size": 8,
            "num_clusters": 3,
            # At the paper's α of 1000 the assignment has no gradient.
            **{field: from_file("person_vlad").model[field] for field in ("alpha", "descriptors")},
            "num_classes": 4,
            "classifiers": ("feature",),
        },
    ),
    "m3d": ("two_stream_m3d", {"num_classes": 4, "temporal_scales": "log2"}),
    "m3d_alone": ("resnet50_m3d", {"temporal_scales": "log2"}),
    "lstm": ("two_stream_m3d", {"num_classes": 4, "temporal": "lstm", "lstm_size": 16}),
    "flow": ("two_stream_m3d", {"num_classes": 4, "temporal": "flow"}),
    "vgg": ("vgg16", {"hidden_size": 32}),
    "two_stream_vgg": ("two_stream_vgg", {"num_classes": 4, "hidden_size": 32}),  # its VLAD row: in its own test
}
# One whole network among the default tests, C3D with parts and VLAD. The others take longer to compile, up to minutes,
# and differ in layers that have a gradient test of their own.
QUICKLY = ("person_vlad",)
BLOCKS = {"stage_sizes": (1, 2, 1, 1), "non_local_after": {"res3": (0,)}}
CASES |= {
    "separable": ("resnet50_separable", {"ral": "sct", **BLOCKS}),
    "inflated": ("resnet50_i3d", BLOCKS),
    "nonlocal3d": ("nonlocal3d", {"num_classes": 4, "feature_size": 32, "stem_length": 3, **BLOCKS}),
    **{
        network: ("nonlocal3d", {"num_classes": 4, "network": network, "lstm_size": 16})
        for network in ("attention", "rnn")
    },
    "strong_baseline": (
        "strong_baseline",
        {
            "num_classes": 4,
            "pooling": "attention",
            "backbone_fields": {"width": 8, "stage_sizes": (1, 1, 1, 1)},
        },
    ),
    **{f"p3d_{letter}": (f"resnet50_p3d_{letter}", {}) for letter in "abc"},
}
CASES |= {
    "osnet": ("osnet_x1_0", {"width": 32, "num_classes": 4}),
    "osnet_ibn": ("osnet_ibn_x1_0", {"width": 32, "num_classes": 4}),
    "osnet_ain": ("osnet_ain_x1_0", {"width": 32, "num_classes": 4}),
    "bnneck": ("resnet50_bnneck", {"num_classes": 4}),
}
# Models within others, and other strides of the same kind. What clip_similarity has beside its features is tried in
# clip_similarity_test.
WITHIN = {
    "i3d_inception_v1": {"clip_similarity"},
    "person_vlad_small": {"person_vlad"},
    "two_stream_m3d": {"resnet50", "resnet50_m3d"},
    "vgg16": {"vgg16_bn"},
    "resnet50_i3d": {"resnet3d_50"},
    "osnet_x1_0": {"osnet_x0_75", "osnet_x0_5", "osnet_x0_25"},  # in other widths
}


def problem(name, fields):
    """(loss of params and batch statistics, variables) of four clips, each its own class."""
    narrow = {"width": 8, "stage_sizes": (1, 1, 1, 1)}
    narrow = {key: value for key, value in narrow.items() if key in models.entry(name).fields}
    module = models.create(name, **{**narrow, **fields})
    rng = np.random.default_rng(0)
    # The contrast grows from clip to clip: noise alone would pool to the same vector for all four.
    size = (4, 8, 64, 32, models.channels_of(module))
    x = jnp.asarray(rng.standard_normal(size) * np.arange(1, 5).reshape(4, 1, 1, 1, 1), jnp.float32)

    def loss(params, batch_stats):
        outputs, updated = module.apply(
            {"params": params, "batch_stats": batch_stats},
            x,
            train=True,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )
        if "streams" in outputs:
            logits = [stream["logits"] for stream in outputs["streams"].values()]
        elif "logits" in outputs:
            logits = [outputs["logits"]]
        else:  # a backbone, read out at random
            pooled = outputs["feature" if name == "vgg16" else "pooled"]
            logits = [pooled @ np.random.default_rng(1).standard_normal((pooled.shape[-1], 4)).astype(np.float32)]
        total = sum(-jax.nn.log_softmax(each)[jnp.arange(4), jnp.arange(4)].mean() for each in logits)
        return total, updated.get("batch_stats", {})

    return loss, jax.jit(lambda: dict(module.lazy_init(jax.random.key(0), x)), compiler_options=QUICK)()


def by_name(tree):
    return {"/".join(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def excused(key):
    return any(re.fullmatch(pattern, key) for pattern in NO_GRADIENT)


def test_every_model_is_tried():
    names = {name for name, _ in CASES.values()}
    assert names.union(*(WITHIN.get(name, set()) for name in names)) == set(models.names())


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c not in QUICKLY)) for c in CASES])
def test_every_tensor_gets_a_gradient_within_three_steps(case):
    name, fields = CASES[case]
    loss, variables = problem(name, fields)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICK)
    largest = dict.fromkeys(by_name(params), 0.0)
    for _ in range(3):
        gradients, batch_stats = step(params, batch_stats)
        for key, value in by_name(gradients).items():
            assert np.isfinite(value).all(), key
            scale = float(np.abs(by_name(params)[key]).max()) or 1.0
            largest[key] = max(largest[key], float(np.abs(value).max()) / scale)
        params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients)
    dead = {key: value for key, value in largest.items() if value <= 1e-6 and not excused(key)}
    assert not dead


@pytest.mark.slow
def test_jit_equals_eager_in_gradient(xla_as_users_have_it, monkeypatch):
    """Softplus stands in for ReLU, whose gradient jumps.

    An input within rounding of 0 may be positive in one program and not in the other. With ReLU and JAX 0.10.1 every
    compiled gradient was within 7e-5 of float64's, and the eager one was 2e-2 off in all that lies before one channel of
    `layer1_0`, where a single activation had passed the other way.
    """
    monkeypatch.setattr(nn, "relu", nn.softplus)
    fields = {"num_classes": 4}
    loss, variables = problem("two_stream_m3d", fields)

    def gradients(params):
        return jax.grad(loss, has_aux=True)(params, variables["batch_stats"])[0]

    compiled = jax.jit(gradients, compiler_options=xla_as_users_have_it)
    eager, jitted = by_name(gradients(variables["params"])), by_name(compiled(variables["params"]))
    for key, expected in eager.items():
        if excused(key):  # rounding is all there is
            continue
        scale = max(float(np.abs(expected).max()), 1e-3)
        np.testing.assert_allclose(jitted[key] / scale, expected / scale, atol=1e-3, err_msg=key)
