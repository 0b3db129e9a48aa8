"""The model in the box: the one that ships in the package, for whoever names no other."""

from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.model_files.weights_file import read_metadata

FILE = Path(__file__).with_name("shipped") / "people.safetensors"
INSTEAD = "install vreid_jax again, or name a model"


def box_file() -> Path:
    """Return the file of the model in the box.

    Raises:
      InputError: when this installation lacks it.
    """
    if not FILE.is_file():
        raise InputError(f"the model in the box is missing from this installation, there is no {FILE}: {INSTEAD}")
    return FILE


def box_fingerprint() -> str | None:
    """Return the fingerprint in the file's metadata; None where there is no usable file."""
    try:
        return (read_metadata(FILE) or {}).get("fingerprint")
    except InputError:
        return None
