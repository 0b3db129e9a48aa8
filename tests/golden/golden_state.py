"""How the parity vectors' networks and inputs are filled, and reading the vectors."""

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def fill(name, shape):
    """The tensor called `name`: drawn from a generator that its name seeds."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.split(".")[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if leaf in ("running_mean", "bias"):
        return np.float32(0.1 * rng.standard_normal(shape))
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    scale = np.sqrt(1.0 / int(np.prod(shape[1:])))
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def state_dict(network):
    """The whole filled state dict of a parity vector."""
    shapes = json.loads((FOLDER / f"{network}.keys.json").read_text())
    return {name: fill(name, tuple(shape)) for name, shape in shapes.items()}


def vectors(network):
    """The stored outputs, by name."""
    with np.load(FOLDER / f"{network}.npz") as stored:
        return dict(stored)


def clip(shape, seed):
    """Input number `seed`, in the layout of the original."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)


def narrow_resnet(width=4):
    """A state dict with torchvision's names: ResNet-50 with `width` channels in the stem and one bottleneck a stage."""
    shapes = json.loads((FOLDER / "resnet50_2d.keys.json").read_text())
    return {
        name: fill(name, tuple(size * width // 64 if size % 64 == 0 else size for size in shape))
        for name, shape in shapes.items()
        if not name.startswith(("feat", "classifier")) and (not name.startswith("layer") or name.split(".")[1] == "0")
    }
