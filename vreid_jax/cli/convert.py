"""Turn a trained workdir into one .safetensors file that describes itself, or say what such a file holds."""

import argparse
from pathlib import Path

from vreid_jax.errors import InputError

EXAMPLE = "vreid convert runs/m3d-walkers --out=m3d.safetensors --licence=Apache-2.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="workdir of a run, or a .safetensors file")
    parser.add_argument("--out", help="file to write, .safetensors; without it nothing is written")
    parser.add_argument("--licence", default="", help="under what terms the weights may be used")


def run(flags: argparse.Namespace) -> dict:
    """Convert; returns what the model says of itself."""
    from vreid_jax import inference

    if flags.out and Path(flags.out).exists():
        raise InputError(f"{flags.out} is there already: name another file, or remove it")
    model = inference.load(flags.model)
    if flags.out:
        inference.save(model, flags.out, flags.licence)
        model = inference.load(flags.out)
    return {
        "out": flags.out,
        "model": model.name,
        "fields": dict(model.fields),
        "fingerprint": model.fingerprint,
        "height": model.config.data.height,
        "width": model.config.data.width,
        **model.about,
    }


def text(outcome: dict) -> str:
    """What it is, line by line."""
    lines = [f"{outcome['out'] or 'model'}: {outcome['model']} {outcome['fingerprint']}"]
    lines += [f"  {key}: {outcome[key]}" for key in ("system", "dataset", "licence") if outcome.get(key)]
    lines.append(f"  frames: {outcome['height']} x {outcome['width']}")
    for protocol, scores in (outcome.get("scores") or {}).items():
        lines.append(f"  {protocol}: rank-1 {100 * scores['rank1']:.1f}, mAP {100 * scores['mAP']:.1f}")
    return "\n".join(lines)
