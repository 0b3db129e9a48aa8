"""The datasets of a configuration."""

from typing import Any

from ml_collections import ConfigDict

from vreid_jax import data
from vreid_jax.config import dataset_name
from vreid_jax.datasets import load_builder
from vreid_jax.datasets.tracklet_folder import layout
from vreid_jax.datasets.walkers.plan import Plan
from vreid_jax.errors import InputError


def dataset_builder(config: ConfigDict, name: str = ""):
    """Return the prepared builder of a configuration's dataset, or of the one named; it is built first where it can be."""
    name, own = name or dataset_name(config), config.data
    fields = {"path": own.path, "bad_frames": own.bad_frames} if name == "folder" else {}
    return load_builder(name, own.data_dir or None, progress=config.logging.progress, **fields)


def training_split(config: ConfigDict, trains: bool = False) -> data.TrackletSource:
    """Return the split that a configuration trains on; its dataset is built first where it can be.

    With `trains`, no tracklet of a folder's may be in its query or gallery too; other datasets are not looked at.

    Raises:
      InputError: one is, the folder cannot be listed or has no `train`, or the dataset is not there.
    """
    if dataset_name(config) == "folder" and config.data.path:
        root = layout.find(config.data.path)
        if "train" not in layout.splits_of(root):
            raise InputError(
                f"{root / 'train'} is missing, which a run of this folder trains on: add it, or train on another dataset and "
                "score that run by this folder, with evaluation.dataset=folder"
            )
        if trains:
            train, query, gallery = (layout.list_split(root, split) for split in layout.SPLITS)
            layout.check_held_out(train, [*query, *gallery])
    return data.TrackletSource(dataset_builder(config), "train", config.logging.progress)


def check_outfits(trained: Any, scored: Any) -> None:
    """Check that no test person of a size of walkers wears what people of the size to train on wear; wild has others.

    Raises:
      InputError: one does.
    """
    if isinstance(trained.plan, Plan) and isinstance(scored.plan, Plan):
        known = {tracklet.outfit for tracklet in trained.plan.train}
        asked = {tracklet.outfit for tracklet in scored.plan.test if tracklet.pid > 0}
        if both := known & asked:
            own, other = (f"walkers/{builder.builder_config.name}" for builder in (trained, scored))
            raise InputError(
                f"evaluation.dataset is {other}, and the run trains on people of {own} who wear {len(both)} of the {len(asked)} "
                f"outfits of the people to score: score it on {own}, on a size of walkers with as many outfits to train on or "
                "more, or on another dataset"
            )
