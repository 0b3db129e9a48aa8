"""The datasets that a configuration can name, as the catalog lists them."""

from ml_collections import ConfigDict

from vreid_jax.datasets import catalog
from vreid_jax.datasets.catalog import default_protocols
from vreid_jax.errors import InputError

__all__ = ["DATASETS", "NUM_SPLITS", "SMALL", "dataset_name", "dataset_of", "default_protocols"]

DATASETS = {name: dataset.default_name for name, dataset in catalog.DATASETS.items()}
# Trained from scratch at a size for a laptop; what is prepared by hand was published, and gets its papers' recipes.
SMALL = tuple(name for name, dataset in catalog.DATASETS.items() if not dataset.by_hand)
NUM_SPLITS = {name: dataset.num_splits for name, dataset in catalog.DATASETS.items() if dataset.num_splits > 1}


def dataset_of(name: str) -> str:
    """Return which of `DATASETS` a name like `walkers/jitter` belongs to, or its part before `/` if it is not ours."""
    dataset = catalog.of_builder(name)
    return dataset.name if dataset else name.partition("/")[0]


def dataset_name(config: ConfigDict) -> str:
    """Return the dataset to load, with its split where it has several, e.g. `ilids_vid/split_3`.

    Raises:
      InputError: the dataset does not have this split, or `data.name` names another one.
    """
    count, split = NUM_SPLITS.get(config.dataset, 1), config.split
    if isinstance(split, bool) or not isinstance(split, int) or not 0 <= split < count:
        has = f"splits 0 to {count - 1}, and all" if count > 1 else "one split, 0"
        raise InputError(f"split is {split!r}; dataset {config.dataset} has {has}")
    name = config.data.name
    if count == 1:
        return name
    dataset, _, division = name.partition("/")
    if division not in ("", f"split_{split}"):
        raise InputError(
            f"config.data.name is {name!r}, and the split to run is {split}: set data.name to {dataset!r}, and split to "
            "the division that you mean"
        )
    return f"{dataset}/split_{split}"
