"""Equality of every backbone with the stored outputs of the original PyTorch code, on the device."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import numpy as np

from device_parts.measuring import UNTUNED, Run, compile_all
from vreid_jax import models, pretrained

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
RELEASED = {"released": True, "ral": "sct", "clip_length": 8}
NETWORKS = {
    "resnet50": ("resnet50_2d", {}, "pooled", "pooled"),
    "resnet50_m3d": ("m3d_resnet50_attention", RELEASED, "pooled", "pooled"),
    "resnet3d_50": ("resnet3d_50", {}, "pooled", "pooled"),
    "i3d_inception_v1": ("i3d_inception_v1", {}, "pooled", "pooled"),
    "c3d": ("c3d", {}, "conv5b", "conv5b.mean_hw"),
    "resnet50_i3d": ("i3d_resnet50", {}, "pooled", "pooled"),
    "resnet50_p3d_a": ("p3d_a_resnet50", {}, "pooled", "pooled"),
    "resnet50_p3d_b": ("p3d_b_resnet50", {}, "pooled", "pooled"),
    "resnet50_p3d_c": ("p3d_c_resnet50", {}, "pooled", "pooled"),
    **{name: (name, {}, "feature", "feature") for name in ("osnet_x1_0", "osnet_x0_25")},
    **{name: (name, {}, "feature", "feature") for name in ("osnet_ibn_x1_0", "osnet_ain_x1_0")},
}
"""For each model: the file of its vector, its fields, the output that is compared, and what the vector calls it."""
PRECISIONS = ("highest", "default")
QUICK = ("osnet_x0_25",)


def golden():
    """Return the module that reads the vectors."""
    found = importlib.util.spec_from_file_location("golden_state", GOLDEN / "golden_state.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def measure(run: Run) -> None:
    """Write the largest relative error of each network, in float32 with the highest and with the default precision."""
    vectors, names, inputs = golden(), QUICK if run.smoke else tuple(NETWORKS), {}

    def lowering(name: str, precision: str):
        def lower():  # what it needs is made while XLA compiles the networks before
            if name not in inputs:
                inputs[name] = network_inputs(vectors, name)
            with jax.default_matmul_precision(precision):
                module = models.create(name, **NETWORKS[name][1])
                return jax.jit(module.apply).lower(*inputs[name])

        return lower

    cases = [(name, precision) for name in names for precision in PRECISIONS]
    jobs = {f"{name}, {precision}": lowering(name, precision) for name, precision in cases}
    programs = compile_all(run, jobs, share=0.9, on_gpu=UNTUNED)
    for name, arguments in inputs.items():
        file, _, output, stored = NETWORKS[name]
        errors = {}
        for precision in PRECISIONS:
            case = f"{name}, {precision}"
            if case in programs:
                with run.case(case):
                    found = np.asarray(programs[case].program(*arguments)[output], np.float64)
                    expected = vectors.vectors(file)[f"0/{stored}"]
                    errors[precision] = f"{relative(found, expected, output):.1e}"
        if errors:
            run.write(name, output=output, **errors)


def network_inputs(vectors, name: str):
    """Return the variables and the clips of a network, on the device."""
    file, fields, _, _ = NETWORKS[name]
    x = vectors.clip(vectors.vectors(file)["0/input_shape"], 0)
    if name == "resnet50_m3d":  # [B, T, C, H, W]
        clips = x.transpose(0, 1, 3, 4, 2)
    elif x.ndim == 4:  # frames
        clips = x.transpose(0, 2, 3, 1)[:, None]
    else:
        clips = x.transpose(0, 2, 3, 4, 1)
    return jax.device_put((pretrained.from_torch(name, vectors.state_dict(file), **fields), clips))


def relative(found, expected, output: str) -> float:
    """Return the largest error relative to the largest value."""
    if output == "conv5b":  # the vector has means over height and width, channels before time
        found = found.mean((2, 3)).transpose(0, 2, 1)
    found = found.reshape(expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())
