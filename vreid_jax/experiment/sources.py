"""The datasets of a configuration."""

from ml_collections import ConfigDict

from vreid_jax.config import dataset_name
from vreid_jax.datasets import load_builder


def dataset_builder(config: ConfigDict, name: str = ""):
    """Return the prepared builder of a configuration's dataset, or of the one named; it is built first where it can be."""
    name, own = name or dataset_name(config), config.data
    fields = {"path": own.path, "bad_frames": own.bad_frames} if name == "folder" else {}
    return load_builder(name, own.data_dir or None, progress=config.logging.progress, **fields)
