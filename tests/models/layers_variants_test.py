"""Layers with and without jit against their equations in float64 NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vreid_jax.models.layers.heads import BatchNormNeck, Classifier
from vreid_jax.models.layers.norm import BatchNorm, InstanceNorm, l2_normalize
from vreid_jax.models.layers.part_alignment import PartMaps
from vreid_jax.models.layers.temporal_pooling import LastState, TemporalAttention


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalised(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


class LayersTest(chex.TestCase):
    """Parameters are drawn anew by NumPy, so that none is at its start."""

    def variables(self, module, *inputs):
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        rng = np.random.default_rng(1)
        return jax.tree.map(lambda leaf: rng.uniform(0.2, 0.8, leaf.shape).astype(np.float32), dict(shapes))

    def results(self, module, variables, *inputs):
        return self.variant(module.apply)(*jax.tree.map(jnp.asarray, (variables, *inputs)))

    @chex.variants(with_jit=True, without_jit=True)
    def test_batch_norm_of_a_batch_moves_its_statistics_by_a_tenth(self):
        module, x = BatchNorm(use_running_average=False), drawn(6, 2, 3, 4, 5)
        variables = self.variables(module, x)
        apply = self.variant(lambda v, x: module.apply(v, x, mutable=["batch_stats"]))
        y, changed = apply(variables, x)
        scale, bias = variables["params"]["scale"], variables["params"]["bias"]
        wide = x.astype(np.float64)
        np.testing.assert_allclose(y, normalised(wide, (0, 1, 2, 3)) * scale + bias, atol=1e-5)
        old = variables["batch_stats"]
        expected = {
            "mean": 0.9 * old["mean"] + 0.1 * wide.mean((0, 1, 2, 3)),
            "var": 0.9 * old["var"] + 0.1 * wide.var((0, 1, 2, 3)),
        }
        chex.assert_trees_all_close(changed["batch_stats"], expected, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_instance_norm_is_of_each_frame(self):
        module, x = InstanceNorm(), drawn(2, 3, 4, 5, 6)
        variables = self.variables(module, x)
        params = variables["params"]
        expected = normalised(x.astype(np.float64), (2, 3)) * params["scale"] + params["bias"]
        np.testing.assert_allclose(self.results(module, variables, x), expected, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_vectors_are_divided_by_their_length(self):
        x = drawn(3, 4)
        x[1] = 0
        expected = x / np.sqrt((x.astype(np.float64) ** 2).sum(-1, keepdims=True) + 1e-12)
        np.testing.assert_allclose(self.variant(l2_normalize)(x), expected, rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_classifier_reads_normalised_vectors(self):
        module, x = Classifier(7), drawn(4, 5)
        variables = self.variables(module, x)
        params, statistics = variables["params"], variables["batch_stats"]["bn"]
        z = (x - statistics["mean"]) / np.sqrt(statistics["var"].astype(np.float64) + 1e-5)
        z = z * params["bn"]["scale"] + params["bn"]["bias"]
        expected = z @ params["classifier"]["kernel"] + params["classifier"]["bias"]
        np.testing.assert_allclose(self.results(module, variables, x), expected, rtol=1e-4, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_neck_has_a_scale_and_no_bias(self):
        module, x = BatchNormNeck(7), drawn(4, 5)
        variables = self.variables(module, x)
        params, statistics = variables["params"], variables["batch_stats"]["bn"]
        z = (x - statistics["mean"]) / np.sqrt(statistics["var"].astype(np.float64) + 1e-5) * params["bn"]["scale"]
        expected = {"before_neck": x, "feature": z, "logits": z @ params["classifier"]["kernel"]}
        chex.assert_trees_all_close(self.results(module, variables, x), expected, rtol=1e-4, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_part_maps_are_sigmoids_of_every_position(self):
        module, cubic = PartMaps(num_parts=3), drawn(2, 2, 3, 4, 5)
        variables = self.variables(module, cubic)
        detector = variables["params"]["detector"]
        expected = sigmoid(cubic.astype(np.float64) @ detector["kernel"] + detector["bias"])
        np.testing.assert_allclose(self.results(module, variables, cubic), expected, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_temporal_attention_weights_frames_by_a_softmax(self):
        module, maps, pooled = TemporalAttention(hidden=3), drawn(2, 4, 3, 2, 5), drawn(2, 4, 6)
        variables = self.variables(module, maps, pooled)
        params = variables["params"]
        wide = np.pad(maps.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
        kernel = params["conv"]["kernel"]
        taps = [wide[:, :, i : i + 3, j : j + 2] @ kernel[i, j] for i in range(3) for j in range(3)]
        hidden = np.maximum(sum(taps) + params["conv"]["bias"], 0).mean((2, 3))
        scores = np.exp(hidden @ params["score"]["kernel"])
        expected = (scores / scores.sum(1, keepdims=True) * pooled).sum(1)
        np.testing.assert_allclose(self.results(module, variables, maps, pooled), expected, rtol=1e-4, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_last_state_is_that_of_an_lstm(self):
        module, x = LastState(hidden=3), drawn(2, 4, 5)
        variables = self.variables(module, x)
        (lstm,) = variables["params"].values()
        cell, hidden = np.zeros((2, 3)), np.zeros((2, 3))
        for frame in x.transpose(1, 0, 2).astype(np.float64):
            gates = {
                gate: frame @ lstm[f"i{gate}"]["kernel"]
                + hidden @ lstm[f"h{gate}"]["kernel"]
                + lstm[f"h{gate}"]["bias"]
                for gate in "ifgo"
            }
            cell = sigmoid(gates["f"]) * cell + sigmoid(gates["i"]) * np.tanh(gates["g"])
            hidden = sigmoid(gates["o"]) * np.tanh(cell)
        np.testing.assert_allclose(self.results(module, variables, x), hidden, rtol=1e-5, atol=1e-6)
