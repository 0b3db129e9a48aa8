"""Model files made of what was trained: a run's workdir, another model file, or PyTorch weights of another project."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from vreid_jax.config import literal
from vreid_jax.errors import InputError
from vreid_jax.files import only_process


def convert(
    source: str | Path | None,
    out: str | Path,
    *,
    model_name: str = "",
    fields: Mapping[str, Any] | None = None,
    inflation: str = "mean",
    licence: str = "",
    classifier: bool = True,
    half: bool = False,
) -> Path:
    """Write a `.safetensors` file that describes itself, and its card beside it (`.md`); return the card's path.

    Args:
      source: a workdir, a file of this library, None for the model in the box, or, with `model_name`, a PyTorch state
        dict.
      out: file to write; neither it nor its card is there yet.
      model_name: of `models.names()`, what PyTorch weights are for.
      fields: of `models.create`, with `model_name`.
      inflation: of 2-D kernels in a 3-D network, with `model_name`: "mean" or "center".
      licence: under what terms the weights may be used; empty: what the source says, or the terms of what it is made of.
      classifier: whether a run's or a file's classifier of its training identities is kept, which embedding has no use
        for.
      half: whether a run's or a file's parameters are rounded to float16 (see `inference.save`).

    Raises:
      InputError: when `source` is not such a thing, or nothing can be written.
    """
    from vreid_jax.model_files.model_card import card_path, write_card
    from vreid_jax.model_files.weights_file import check_target

    out = Path(out)
    check_target(out)
    if model_name and source is None:
        raise InputError(f"there is no file of PyTorch weights for {model_name}: name it before the flags")
    if model_name and (half or not classifier):
        raise InputError(
            "PyTorch weights are converted whole: apply --half and --without-classifier to the model file made of them"
        )
    if fields and not model_name:
        raise InputError("fields are for PyTorch weights: name their model, too")

    def write(path: Path) -> None:
        if model_name:
            _convert_weights(Path(source or ""), path, model_name, dict(fields or {}), inflation, licence)
        else:
            from vreid_jax import inference

            model = inference.load(source)
            inference.save(model if classifier else inference.without_classifier(model), path, licence, half=half)

    busy = f"another process writes {out}: wait for it, or name another file"
    with only_process(out.with_name(f".{out.name}.lock"), busy, keep=False):
        card = card_path(out)
        if card.exists() or (out.exists() and not _is_written_by(write, out)):
            raise InputError(f"{card if card.exists() else out} is there already: name another file, or remove it")
        if not out.exists():
            write(out)
        return write_card(out)


def _is_written_by(write: Callable[[Path], None], out: Path) -> bool:
    """Return whether `out` holds what `write` writes: a process was killed before it had written the card, too."""
    try:
        found = _content(out)
    except InputError:  # it is somebody's own
        return False
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / out.name
        write(again)
        return _content(again) == found


def _content(path: Path) -> tuple[Any, dict[str, tuple]]:
    """Return the metadata and the tensors of a model file, which can be compared; `InputError` for any other file."""
    from vreid_jax.model_files.weights_file import load_weights, read_metadata

    tensors = {name: np.asarray(value) for name, value in flatten_dict(load_weights(path), sep="/").items()}
    return read_metadata(path), {name: (value.shape, value.tobytes()) for name, value in tensors.items()}


def card_of(source: str | Path | None) -> str:
    """Return the card of a model file, Markdown: the one beside it, else what its metadata tell; None: of the box.

    Raises:
      InputError: when `source` is not a file of this library.
    """
    from vreid_jax.inference.box import box_file
    from vreid_jax.model_files import hub
    from vreid_jax.model_files.model_card import card_path, model_card
    from vreid_jax.model_files.weights_file import read_metadata

    path = box_file() if source is None else hub.local_path(source)
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, and a model file has a card: `vreid convert {path} --out=FILE` makes both"
        )
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} was not written by this library: make it with `vreid convert`")
    beside = card_path(path)
    return beside.read_text(encoding="utf-8") if beside.is_file() else model_card(metadata, str(source or path))


def _convert_weights(
    source: Path, out: Path, model_name: str, fields: dict[str, Any], inflation: str, licence: str
) -> None:
    from vreid_jax import models, pretrained
    from vreid_jax.inference.loading import described, stream_of
    from vreid_jax.model_files.weights_file import preprocessing

    variables = pretrained.from_torch(model_name, source, inflation=inflation, **fields)
    entry = models.entry(model_name)
    clip = stream_of(entry).clip.to_dict()
    size = models.size_of(model_name, models.create(model_name, **fields))
    seen = preprocessing(*size, entry.mean, entry.std, {"feature": clip})
    licence = licence or f"that of {source.name}, from which these weights were converted"
    # As it is read from the file, so that galleries made with files without a fingerprint go on matching.
    model = described({"model": model_name, "fields": fields, "preprocessing": seen}, variables)
    told = {"preprocessing": seen, "fingerprint": model.fingerprint}
    pretrained.save_weights(out, variables, model_name, fields, licence, **told)


def parse_field(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`, the value a Python literal or text.

    Raises:
      InputError: where there is no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--field={text} is not NAME=VALUE")
    return name, literal(value)
