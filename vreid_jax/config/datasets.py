"""The datasets that a configuration can name."""

from ml_collections import ConfigDict

from vreid_jax.errors import InputError

DATASETS = {
    "walkers": "walkers/small",
    "mars": "mars_video",
    "ilids_vid": "ilids_vid",
    "prid2011": "prid2011_video",
    "duke_video": "duke_video",
    "folder": "folder",
}
SMALL = ("walkers", "folder")  # trained from nothing, at a size for a laptop; the others are the papers' recipes
NUM_SPLITS = {"ilids_vid": 10, "prid2011": 10}


def dataset_of(name: str) -> str:
    """Return which of `DATASETS` a name like `walkers/jitter` is of; a dataset of somebody's own is of itself."""
    base = name.partition("/")[0]
    return next((key for key, value in DATASETS.items() if value.partition("/")[0] == base), base)


def dataset_name(config: ConfigDict) -> str:
    """Return the dataset to load, with its split where it has several, e.g. `ilids_vid/split_3`.

    Raises:
      InputError: for a split that the dataset does not have.
    """
    count, split = NUM_SPLITS.get(config.dataset, 1), config.split
    if isinstance(split, bool) or not isinstance(split, int) or not 0 <= split < count:
        has = f"splits 0 to {count - 1}, and all" if count > 1 else "one split, 0"
        raise InputError(f"split is {split!r}; dataset {config.dataset} has {has}")
    name = config.data.name
    return f"{name}/split_{split}" if count > 1 and "/" not in name else name
