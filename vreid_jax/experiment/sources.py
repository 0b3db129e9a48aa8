"""The datasets of a configuration."""

from ml_collections import ConfigDict

from vreid_jax.config import dataset_name
from vreid_jax.datasets import load_builder
from vreid_jax.datasets.tracklet_folder import layout


def dataset_builder(config: ConfigDict, name: str = ""):
    """Return the prepared builder of a configuration's dataset, or of the one named; it is built first where it can be."""
    name, own = name or dataset_name(config), config.data
    fields = {"path": own.path, "bad_frames": own.bad_frames} if name == "folder" else {}
    return load_builder(name, own.data_dir or None, progress=config.logging.progress, **fields)


def check_held_out(config: ConfigDict) -> None:
    """Check that no tracklet of a folder to train on is in its query or gallery too; other datasets are not looked at.

    Raises:
      InputError: one is, or the folder cannot be listed.
    """
    if dataset_name(config) == "folder" and config.data.path:
        root = layout.find(config.data.path)
        train, query, gallery = (layout.list_split(root, split) for split in layout.SPLITS)
        layout.check_held_out(train, [*query, *gallery])
