"""Convert PyTorch weights into one .safetensors file that describes itself."""

import argparse

from vreid_jax.cli.convert import add_weight_arguments

EXAMPLE = "python -m vreid_jax.convert --model=resnet50_separable --weights=resnet50.pth --out=separable.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--model", required=True, help="a name of models.names(), e.g. resnet50_i3d")
    parser.add_argument("--weights", required=True, help="state dict: .pt, .pth or .safetensors")
    parser.add_argument("--out", required=True, help="file to write, .safetensors")
    add_weight_arguments(parser)


def run(flags: argparse.Namespace) -> dict:
    """Convert; return the file and the model it is for."""
    from vreid_jax.inference.convert import convert, parse_field

    convert(
        flags.weights,
        flags.out,
        model_name=flags.model,
        fields=dict(parse_field(given) for given in flags.field),
        inflation=flags.inflation,
        licence=flags.licence,
    )
    return {"out": flags.out, "model": flags.model}


def text(outcome: dict) -> str:
    """Return one line."""
    return f"{outcome['out']}: {outcome['model']}"
