"""Model files out of what was trained: a run's workdir, another model file, or the PyTorch weights of somebody else.

`vreid convert` is its command; `python -m vreid_jax.convert --model=NAME --weights=FILE --out=FILE` another name of it.
"""

import argparse
import ast
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError


def convert(
    source: str | Path,
    out: str | Path,
    *,
    model_name: str = "",
    fields: Mapping[str, Any] | None = None,
    inflation: str = "mean",
    licence: str = "",
) -> Path:
    """Write a `.safetensors` file that describes itself, and its card beside it (`.md`); returns the card's path.

    Args:
      source: a workdir, a file of this library, or, with `model_name`, a PyTorch state dict.
      out: file to write; neither it nor its card is there yet.
      model_name: of `models.names()`, what PyTorch weights are for.
      fields: of `models.create`, with `model_name`.
      inflation: of 2-D kernels in a 3-D network, with `model_name`: "mean" or "center".
      licence: under what terms the weights may be used; empty: what the source says, or the terms of what it is made of.

    Raises:
      InputError: when `source` is no such thing, or nothing can be written.
    """
    from vreid_jax.model_files.model_card import card_path, write_card
    from vreid_jax.model_files.weights_file import check_target

    out = Path(out)
    check_target(out)
    for path in (out, card_path(out)):
        if path.exists():
            raise InputError(f"{path} is there already: name another file, or remove it")
    if model_name:
        _convert_weights(Path(source), out, model_name, dict(fields or {}), inflation, licence)
    else:
        from vreid_jax import inference

        if fields:
            raise InputError("fields are for PyTorch weights: name their model, too")
        inference.save(inference.load(source), out, licence)
    return write_card(out)


def _convert_weights(
    source: Path, out: Path, model_name: str, fields: dict[str, Any], inflation: str, licence: str
) -> None:
    from vreid_jax import models, pretrained
    from vreid_jax.model_files.weights_file import preprocessing

    variables = pretrained.from_torch(model_name, source, inflation=inflation, **fields)
    entry = models.entry(model_name)
    clip = {"kind": "evenly", "length": entry.clip_length, "stride": 1, "num_clips": 8}
    seen = preprocessing(*entry.input_size, entry.mean, entry.std, {"feature": clip})
    licence = licence or f"that of {source.name}, from which these weights were converted"
    pretrained.save_weights(out, variables, model_name, fields, licence, preprocessing=seen)


def parse_field(text: str) -> tuple[str, Any]:
    """Name and value of `NAME=VALUE`, the value a Python literal or text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--field={text} is no NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say what becomes of PyTorch weights."""
    parser.add_argument("--inflation", default="mean", help="of 2-D kernels in a 3-D network: mean or center")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=VALUE", help="a field of the model")
    parser.add_argument("--licence", default="", help="under what terms the weights may be used")


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts PyTorch weights; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(prog="vreid_jax.convert", description="Converts PyTorch weights.")
    parser.add_argument("--model", required=True, help="a name of models.names(), e.g. resnet50_i3d")
    parser.add_argument("--weights", required=True, help="state dict: .pt, .pth or .safetensors")
    parser.add_argument("--out", required=True, help="file to write, .safetensors")
    add_weight_arguments(parser)
    flags = parser.parse_args(arguments)
    try:
        convert(
            flags.weights,
            flags.out,
            model_name=flags.model,
            fields=dict(parse_field(text) for text in flags.field),
            inflation=flags.inflation,
            licence=flags.licence,
        )
    except InputError as error:
        print(f"vreid_jax.convert: {error}", file=sys.stderr)
        return 2
    print(f"{flags.out}: {flags.model}")
    return 0
