"""The one table of datasets: what a configuration calls them, who builds them and how they are scored.

It imports neither TFDS nor a builder, so that configurations can read it in no time.
"""

import dataclasses

from vreid_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One row.

    Attributes:
      name: what a configuration and `vreid data prepare` call it.
      builder: its name in TFDS.
      module: the module of its TFDS builder, below `vreid_jax.datasets`.
      protocols: names of the evaluation protocols to report, the main one first.
      by_hand: whether the user must ask for the data and prepare them; the others are built on first use.
      default_config: the TFDS config of its plain name.
      num_splits: number of divisions into training and test persons, configs `split_0`, `split_1`, …
      fields: the fields of a configuration that its builder takes, the required one first.
    """

    name: str
    builder: str
    module: str
    protocols: tuple[str, ...]
    by_hand: bool
    default_config: str = ""
    num_splits: int = 1
    fields: tuple[str, ...] = ()

    @property
    def default_name(self) -> str:
        """What `load_builder` calls it, e.g. `walkers/small`."""
        return f"{self.builder}/{self.default_config}" if self.default_config else self.builder


BAD_FRAMES = ("error", "skip")
"""What can be done about an unreadable frame of `folder`: refuse the folder, or leave the frame out and count it."""

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "walkers",
            builder="walkers",
            module="walkers.walkers_dataset_builder",
            protocols=("walkers",),
            by_hand=False,
            default_config="small",
        ),
        Dataset(
            "mars",
            builder="mars_video",
            module="mars_video.mars_video_dataset_builder",
            protocols=("mars", "mars_query_free"),
            by_hand=True,
        ),
        Dataset(
            "ilids_vid",
            builder="ilids_vid",
            module="ilids_vid.ilids_vid_dataset_builder",
            protocols=("ilids_vid",),
            by_hand=True,
            num_splits=10,
        ),
        Dataset(
            "prid2011",
            builder="prid2011_video",
            module="prid2011_video.prid2011_video_dataset_builder",
            protocols=("prid2011",),
            by_hand=True,
            num_splits=10,
        ),
        Dataset(
            "duke_video",
            builder="duke_video",
            module="duke_video.duke_video_dataset_builder",
            protocols=("duke_video",),
            by_hand=True,
        ),
        Dataset(
            "folder",
            builder="folder",
            module="tracklet_folder.folder_dataset_builder",
            protocols=("folder",),
            by_hand=False,
            fields=("path", "bad_frames"),
        ),
    )
}


def of_builder(name: str) -> Dataset | None:
    """Return the dataset that a name like `walkers/jitter` or `mars_video` is of, None if it is not in the table."""
    base = name.partition("/")[0]
    return next((dataset for dataset in DATASETS.values() if dataset.builder == base), None)


def default_protocols(name: str) -> tuple[str, ...]:
    """Return the names of the protocols to report for dataset `name`, the main one first.

    Raises:
      InputError: the dataset is not in the table.
    """
    if name not in DATASETS:
        raise InputError(
            f"dataset {name!r} has no default protocols, which {', '.join(DATASETS)} have; name its protocols in "
            "evaluation.protocols"
        )
    return DATASETS[name].protocols
