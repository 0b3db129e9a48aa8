"""Each primitive in ONNX: the values of JAX through onnxruntime, with the batch left open; what is unknown is named."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export as jax_export
from jax import lax

from vreid_jax.errors import InputError
from vreid_jax.models.layers.m3d import mean_of_pairs
from vreid_jax.models.ops.conv3d import conv3d
from vreid_jax.models.ops.pool import max_pool

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX is an extra")
to_onnx = pytest.importorskip("vreid_jax.export.onnx", reason="ONNX is an extra")

CLIPS = ("b", 5, 7, 6, 4)


def specs(*shapes, dtype="float32"):
    scope = jax_export.SymbolicScope()
    return [
        jax.ShapeDtypeStruct(jax_export.symbolic_shape(", ".join(map(str, shape)), scope=scope), dtype)
        for shape in shapes
    ]


def converted(function, *shapes, dtype="float32"):
    inputs = [f"x{number}" for number in range(len(shapes))]
    return to_onnx.convert(function, specs(*shapes, dtype=dtype), inputs, "y")


def through_onnxruntime(model, *values):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {f"x{number}": value for number, value in enumerate(values)})[0]


def drawn(shape, size, seed):
    shape = [size if isinstance(d, str) else d for d in shape]
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_same_values(function, *shapes, rtol=1e-5, atol=1e-5):
    model = converted(function, *shapes)
    function = jax.jit(function)
    for size in (1, 3):
        values = [drawn(shape, size, seed) for seed, shape in enumerate(shapes)]
        expected, found = np.asarray(function(*map(jnp.asarray, values))), through_onnxruntime(model, *values)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("taps", "geometry"),
    [
        ((3, 3, 3), {"padding": ((1, 1), (1, 1), (1, 1))}),
        ((3, 3, 3), {"padding": ((0, 1), (1, 2), (0, 0)), "strides": (2, 2, 1)}),
        ((3, 1, 1), {"padding": ((2, 2), (0, 0), (0, 0)), "dilation": (2, 1, 1)}),
        ((1, 3, 3), {"padding": ((0, 0), (1, 1), (1, 1)), "strides": (1, 2, 2)}),
        ((1, 1, 1), {"strides": (2, 2, 2)}),
    ],
)
def test_convolutions_over_clips(taps, geometry):
    kernel = drawn((*taps, 4, 3), 0, 9)
    assert_same_values(lambda x: conv3d(x, jnp.asarray(kernel), **geometry), CLIPS)


def test_a_convolution_over_clips_is_one_operator_on_every_machine():
    kernel = jnp.asarray(drawn((3, 3, 3, 4, 3), 0, 9))
    model = converted(lambda x: conv3d(x, kernel, padding=((1, 1), (1, 1), (1, 1))), CLIPS)
    assert Counter(node.op_type for node in model.graph.node) == {"Transpose": 2, "Conv": 1, "Identity": 1}


def test_convolutions_in_groups():
    kernel = jnp.asarray(drawn((3, 3, 2, 6), 0, 9))
    numbers = ("NHWC", "HWIO", "NHWC")
    assert_same_values(
        lambda x: lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2),
        ("b", 6, 5, 4),
    )


@pytest.mark.parametrize(
    ("window", "strides"), [((1, 3, 3), (1, 2, 2)), ((3, 1, 1), (2, 1, 1)), ((2, 2, 3), (1, 1, 2))]
)
def test_max_pooling_whose_border_never_wins(window, strides):
    padding = tuple((size // 2, (size - 1) // 2) for size in window)
    assert_same_values(lambda x: max_pool(x - 9.0, window, strides, padding), CLIPS)


ELEMENTWISE = {
    "arithmetic": lambda x, y: (x * y - x / (2.0 + jnp.abs(y))) + -x,
    "comparisons": lambda x, y: jnp.where(x > y, x, jnp.where(x <= 0, 1.0, y)) + jnp.where(x != y, 1.0, 0.0),
    "functions": lambda x, y: jnp.exp(x) + jnp.log(1 + y * y) + jnp.tanh(x) + lax.rsqrt(1 + jnp.square(y)) + x**3,
    "activations": lambda x, y: jax.nn.relu(x) + jax.nn.sigmoid(y) + jax.nn.softplus(x) + jnp.minimum(x, y),
    "casts": lambda x, y: (x > 0).astype(jnp.float32) + jnp.int32(2),
    "softmax": lambda x, y: jax.nn.softmax(x, axis=-1) + jax.nn.softmax(y, axis=1),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions(name):
    assert_same_values(ELEMENTWISE[name], ("b", 3, 4), ("b", 3, 4))


SHAPES = {
    "means": lambda x: x.mean((1, 3)) + x.max((1, 3)) - x.min((1, 3)),
    "frames folded into the batch and back": lambda x: (x.reshape(-1, 7, 6, 4) + 1).reshape(-1, 5, 7, 6, 4),
    "other orders": lambda x: jnp.transpose(x, (2, 0, 4, 3, 1)),
    "slices": lambda x: jnp.concatenate([x[:, 1:3], lax.slice_in_dim(x, 0, None, 2, axis=1)], axis=1),
    "pairs of frames": lambda x: mean_of_pairs(x[:, :4]),
    "one row": lambda x: x[:, 3] + x[:, -1],
    "a corner": lambda x: x[:, 1:4, 2:, :-1],
    "rows of several": lambda x: jnp.take(x, np.array([[2, 0], [1, 4]]), axis=1, mode="clip"),
    "padding and cutting": lambda x: lax.pad(x, -2.0, ((0, 0, 0), (1, 2, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 0))),
    "what is broadcast": lambda x: jnp.concatenate([x, jnp.ones((1, 5, 7, 6, 4)) * x[:, :1]], 1),
    "maxima and sums over no axis": lambda x: x.max(()) + x.min(()) + x.sum(()),
    "the largest as one": lambda x: jax.nn.one_hot(x.argmax(-1), 4),
}


@pytest.mark.parametrize("name", SHAPES)
def test_changes_of_shape(name):
    assert_same_values(SHAPES[name], CLIPS)


def test_matrix_products():
    w = jnp.asarray(drawn((4, 3), 0, 9))
    assert_same_values(lambda x, y: x @ w, ("b", 2, 4), ("b", 2, 4))
    assert_same_values(lambda x, y: jnp.einsum("qmd,gnd->qgmn", x, y), ("q", 2, 4), ("g", 3, 4))
    assert_same_values(lambda x, y: jnp.einsum("bnk,bnd->bkd", x, y), ("b", 5, 2), ("b", 5, 3))
    assert_same_values(
        lambda x, y: jnp.einsum("bpd,pde->bpe", x, w[None] + jnp.zeros((2, 1, 1))) + y, ("b", 2, 4), ("b", 2, 3)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_scans_are_unrolled(reverse):
    def function(x):
        def step(carry, scanned):
            row, frame = scanned
            carry = carry * 0.5 + x[:, row[0]] * row[1] - frame
            return carry, carry.sum(-1)

        rows = jnp.stack([jnp.arange(4), jnp.arange(4) * 2], 1)
        carry, sums = lax.scan(step, jnp.zeros((x.shape[0], 3)), (rows, x.swapaxes(0, 1)), reverse=reverse)
        return jnp.concatenate([carry, sums.T], 1)

    assert_same_values(function, ("b", 4, 3))


def test_log1p_keeps_the_digits_of_small_values():
    small = np.array([[0.0, 1e-30, 1e-12, 3e-8, 1e-7, 1e-3, 0.5, 40.0]], np.float32)
    found = through_onnxruntime(converted(jnp.log1p, ("b", 8)), small)
    np.testing.assert_allclose(found, np.log1p(small.astype(np.float64)), rtol=3e-7)


def test_log1p_of_what_is_large_or_no_number_is_that_of_jax():
    values = np.array([[-2.0, -1.0, -0.9999999, 1.0, 1e38, 3.4e38, np.inf, np.nan]], np.float32)
    found = through_onnxruntime(converted(jnp.log1p, ("b", 8)), values)
    np.testing.assert_allclose(found, jax.jit(jnp.log1p)(values), rtol=3e-7)


def test_nan_passes_through_what_is_elementwise():
    values = np.array([[-1.0, np.nan, 2.0]], np.float32)
    function = ELEMENTWISE["activations"]
    found = through_onnxruntime(converted(function, ("b", 3), ("b", 3)), values, values)
    np.testing.assert_allclose(found, jax.jit(function)(values, values), rtol=1e-6)


def test_what_depends_on_weights_alone_is_computed_and_what_nobody_needs_left_out():
    variance = jnp.asarray(np.abs(drawn((4,), 0, 3)))

    def function(x):
        jnp.exp(x).sum()
        return x * lax.rsqrt(variance + 1e-5)[None]

    model = converted(function, ("b", 4))
    assert [node.op_type for node in model.graph.node] == ["Mul", "Identity"]
    (constant,) = model.graph.initializer
    assert list(constant.dims) == [1, 4]


def test_names_shapes_and_types_are_those_that_were_asked_for():
    model = to_onnx.convert(lambda x: x[:, 0].mean((1, 2)) / 255, specs(CLIPS, dtype="uint8"), ["frames"], "features")
    (given,), (out,) = model.graph.input, model.graph.output
    assert (given.name, [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]) == ("frames", [*CLIPS])
    assert (out.name, [d.dim_param or d.dim_value for d in out.type.tensor_type.shape.dim]) == ("features", ["b", 4])
    assert (given.type.tensor_type.elem_type, out.type.tensor_type.elem_type) == (2, 1)
    assert model.opset_import[0].version == to_onnx.OPSET == 18


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: jnp.cumsum(x, 1), "`cumsum`"),
        (lambda x: jnp.concatenate([x, jnp.zeros_like(x)], 1), "a value repeated along an open dimension"),
        (lambda x: x[:2], "a gather at indices"),
        (lambda x: x.sum(1) / x.shape[0], "`dim_as_value`"),
        (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1))), "padding between values"),
        (
            lambda x: lax.scan(lambda total, row: (total + row, None), jnp.zeros(3), x)[0],
            "a scan along an open dimension",
        ),
    ],
)
def test_what_cannot_be_written_is_named(function, what):
    with pytest.raises(InputError, match=what):
        converted(function, ("b", 3))


IMAGES = ("b", 6, 6, 2)
WINDOW = {"window_dimensions": (1, 2, 2, 1), "window_strides": (1, 2, 2, 1)}


def image_convolution(padding, dtype):
    kernel, numbers = jnp.ones((3, 3, 2, 2), dtype), ("NHWC", "HWIO", "NHWC")
    return lambda x: lax.conv_general_dilated(x.astype(dtype), kernel, (1, 1), padding, dimension_numbers=numbers)


@pytest.mark.parametrize(
    ("function", "shape", "dtype", "what"),
    [
        (
            lambda x: lax.select_n(x, np.ones(3, np.float32), np.zeros(3, np.float32)),
            (3,),
            "int32",
            "`select_n` of int",
        ),
        (lambda x: x.sum(1, dtype="uint8"), ("b", 3), "uint8", "`reduce_sum` of uint8"),
        (lambda x: -x, ("b", 3), "uint8", "`neg` of uint8"),
        (lambda x: x @ jnp.ones((3, 2), "uint8"), ("b", 3), "uint8", "`dot_general` of uint8"),
        (lambda x: x.astype("uint8"), ("b", 3), "float32", "a cast to uint8"),
        (lambda x: x.astype("int32"), ("b", 3), "float32", "a cast to int32"),
        (lambda x: x.astype("bfloat16"), ("b", 3), "float32", "a cast to bfloat16"),
        (lambda x: jnp.exp(x), ("b", 3), "float16", "`exp` of float16"),
        (image_convolution(((-1, 0), (0, 0)), "float32"), IMAGES, "float32", "negative padding"),
        (image_convolution("VALID", "int32"), IMAGES, "int32", "`conv_general_dilated` of int32"),
        (
            lambda x: lax.reduce_window(x, -(2**31), lax.max, **WINDOW, padding="VALID"),
            IMAGES,
            "int32",
            "`reduce_window_max` of int32",
        ),
    ],
)
def test_what_a_runtime_would_compute_otherwise_or_not_at_all_is_named(function, shape, dtype, what):
    with pytest.raises(InputError, match=what):
        converted(function, shape, dtype=dtype)


def test_what_onnxruntime_does_not_load_is_one_sentence(capfd):
    def padded(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, **WINDOW, padding=((0, 0), (3, 3), (0, 0), (0, 0)))

    with pytest.raises(
        InputError, match=r"the model cannot be written as ONNX, export without --onnx: .*pad"
    ) as raised:
        converted(padded, IMAGES)
    assert len(str(raised.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_recurrent_layer_is_refused_and_not_stumbled_over():
    """It makes random keys for a state of zeros."""
    cell = nn.RNN(nn.OptimizedLSTMCell(3))
    shapes = jax.eval_shape(cell.init, jax.random.key(0), jnp.zeros((1, 2, 4)))
    variables = jax.tree.map(lambda each: np.zeros(each.shape, each.dtype), shapes)
    with pytest.raises(InputError, match=r"a value repeated along an open dimension, which .* export without --onnx"):
        converted(lambda x: cell.apply(variables, x), ("b", 2, 4))
