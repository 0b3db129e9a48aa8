"""The command that turns PyTorch weights into a file of this library's.

`python -m vreid_jax.convert --model=resnet50_separable --weights=resnet50.pth --out=model.safetensors`
"""

import argparse
import ast
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging as absl_logging

from vreid_jax.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="vreid_jax.convert", description="Converts PyTorch weights.")
    parser.add_argument("--model", required=True, help="a name of models.names(), e.g. resnet50_i3d")
    parser.add_argument("--weights", required=True, help="state dict: .pt, .pth or .safetensors")
    parser.add_argument("--out", required=True, help="file to write, .safetensors")
    parser.add_argument("--inflation", default="mean", help="of 2-D kernels in a 3-D network: mean or center")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="a field of the model")
    parser.add_argument("--licence", default="", help="under what terms the weights may be used")
    flags = parser.parse_args(arguments)
    try:
        _convert(flags)
    except InputError as error:
        print(f"vreid_jax.convert: {error}", file=sys.stderr)
        return 2
    return 0


def _convert(flags: argparse.Namespace) -> None:
    from vreid_jax import pretrained

    fields = dict(_field(text) for text in flags.field)
    source = Path(flags.weights)
    variables = pretrained.from_torch(flags.model, source, inflation=flags.inflation, **fields)
    licence = flags.licence or f"that of {source.name}, from which these weights were converted"
    pretrained.save_weights(flags.out, variables, flags.model, fields, licence)
    print(f"{flags.out}: {flags.model}, licence: {licence}")


def _field(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--field={text} is no NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.WARNING)
    absl_logging.set_verbosity(absl_logging.INFO)
    sys.exit(main())
