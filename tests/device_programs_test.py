"""What is counted in programs before and after compilation, on programs small enough to count by hand."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

PROGRAM = """HloModule jit_step

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %n = f32[4]{0} negate(%p)
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %y = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %r = (s32[], f32[4]{0}) tuple(%i, %y)
}

ENTRY %main (a: bf16[2,8], b: f32[4]) -> f32[4] {
  %a = bf16[2,8]{1,0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %c = (bf16[64,64,3,1,1]{4,3,2,1,0}, u8[0]{0}) custom-call(%a, %a), window={size=8x128x64 stride=2x1x1}, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/conv2"}
  %d = (bf16[2,3]{1,0}, u8[0]{0}) custom-call(%a, %a), window={size=1x3x3 pad=0_0x1_1x1_1}, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/conv3"}
  %e = bf16[2,8]{1,0} scatter(%a, %a, %a), to_apply=%fused, metadata={op_name="jit(step)/select_and_scatter_add"}
  %t = (s32[], f32[4]{0}) tuple(%b, %b)
  %w = (s32[], f32[4]{0}) while(%t), condition=%fused, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %z = f32[4]{0} get-tuple-element(%w), index=1
}
"""


@pytest.fixture
def benchmark(monkeypatch):
    """Import a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_bytes_are_what_operations_read_and_write_and_loops_count_their_turns(benchmark):
    programs = benchmark("compiled_programs")
    assert programs.size_of("(bf16[2,8]{1,0}, pred[3]{0}, s32[])") == 32 + 3 + 4
    kernel, small, square = 64 * 64 * 3 * 2, 12, 32
    by_hand = (kernel + 2 * square) + (small + 2 * square) + 4 * square + 5 * 2 * 16
    assert programs.bytes_moved(PROGRAM) == by_hand


def test_what_no_kernel_takes_well_is_named(benchmark):
    programs = benchmark("compiled_programs")
    assert programs.calls(PROGRAM) == {"__cudnn$convForward": 2}
    large, scatter = programs.badly_taken(PROGRAM, before_hopper=False)
    assert large.endswith("with a window of 8x128x64: bf16[64,64,3,1,1] at jit(step)/conv2")
    assert scatter == "a scatter for the gradient of a max-pool: bf16[2,8] at jit(step)/select_and_scatter_add"
    assert "a kernel of 1x3x3 as a 3-D convolution: bf16[2,3] at jit(step)/conv3" in programs.badly_taken(PROGRAM, True)


def test_a_row_of_the_table_counts_forward_calls_with_a_bias_too(benchmark):
    kinds = {"Forward": 2, "BiasActivationForward": 3, "BackwardInput": 4}
    found = {"program": "x_train", "clips": 8, "GB": 1.5, "TFLOP": 2.0, "GB_moved": 3.0, "ms": 4.0, "matrix_ms": 1.0}
    found |= {"calls": {f"__cudnn$conv{kind}": count for kind, count in kinds.items()}, "badly_taken": ["one"]}
    assert benchmark("device_programs").line(found) == (
        "| x_train | 8 | 1.50 | 2.00 | 3.0 | 4.0 | 25 % | 5 / 0 / 4 | 1 |"
    )


def test_matrix_operations_are_counted_by_hand(benchmark):
    count = benchmark("operations").matrix_operations

    def of(function, *shapes):
        return count(jax.jit(function).trace(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)))

    def frames(x, kernel, stride=1):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions)

    assert of(lambda a, b: jax.nn.relu(a @ b), (2, 3), (3, 5)) == 2 * 2 * 3 * 5
    assert of(frames, (2, 4, 6, 3), (3, 3, 3, 5)) == 2 * (2 * 4 * 6 * 5) * (3 * 3 * 3)
    assert of(lambda x: lax.scan(lambda c, _: (c @ c, None), x, length=7)[0], (4, 4)) == 7 * 2 * 4**3
    # Every input of a strided convolution meets a quarter of the taps, in its gradient as well.
    forward = 2 * (2 * 2 * 3 * 5) * (3 * 3 * 3)

    def gradients(x, kernel, g):
        return jax.vjp(lambda x, k: frames(x, k, 2), x, kernel)[1](g)

    assert of(gradients, (2, 4, 6, 3), (3, 3, 3, 5), (2, 2, 3, 5)) == 3 * forward  # the value is computed, too


def test_a_card_is_described_in_the_words_of_xla(benchmark):
    cards = benchmark("cards").CARDS
    text = cards["t4"].target_config
    assert re.search(r"cuda_compute_capability \{ major: 7 minor: 5 \}", text)
    assert "  memory_bandwidth: 320000000000\n" in text
    assert {name for name, card in cards.items() if card.gpu is None} == {"v5e"}
