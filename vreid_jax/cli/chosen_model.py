"""The model that a command works with: the one that was named, or the model in the box, which is then said on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vreid_jax.inference import Model

HELP = "workdir of a run, a .safetensors file, or hf://OWNER/NAME; default: the model in the box"


def load_chosen(name: str | None) -> Model:
    """Load the named model, or without a name the one in the box; raise `InputError` as `inference.load` does."""
    from vreid_jax import inference
    from vreid_jax.files import given_path

    if name and "://" not in name:
        given_path(name)
    model = inference.load(name)
    if name is None:
        print(
            f"model: the one in the box, {model.name} {model.fingerprint}; `vreid convert --card` tells about it",
            file=sys.stderr,
            flush=True,
        )
    return model
