"""The base of builders whose data a user must ask for: tracklets are listed by name, frames checked and copied."""

import io
import os
from collections.abc import Iterator
from typing import ClassVar

from vreid_jax.datasets import progress
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Published, Tracklet
from vreid_jax.datasets.tracklet_builder import TrackletBuilder


class ManualBuilder(TrackletBuilder, skip_registration=True):
    """A builder that reads `manual_dir`; a subclass knows its layout.

    Attributes:
      PREPARE_COMMAND: what the user runs to build the dataset.
      manual_dir: folder or archive with the data; None is the folder that TFDS was given.
    """

    PREPARE_COMMAND: ClassVar[str]
    manual_dir: str | os.PathLike | None = None

    def list_tracklets(self, files: ManualFiles) -> Listing:
        """List the tracklets of the three splits, from names and tables alone; no picture is opened.

        Raises:
          InputError: something is missing or does not parse.
        """
        raise NotImplementedError

    def published(self) -> tuple[Published, ...]:
        """Return the published numbers of the dataset."""
        raise NotImplementedError

    def _split_generators(self, dl_manager):
        root = dl_manager.manual_dir if self.manual_dir is None else self.manual_dir
        with ManualFiles(root) as files:
            listing = self.list_tracklets(files)
        self.describe(split_source=listing.split_source)
        return {name: self._generate_examples(root, name, split) for name, split in listing.splits().items()}

    def _generate_examples(self, root, split: str, tracklets: list[Tracklet]) -> Iterator[tuple[str, dict]]:
        with ManualFiles(root) as files:
            for tracklet in progress.tracklets(tracklets, f"{self.name} {split}"):
                yield (
                    tracklet.tracklet_id,
                    {
                        "frames": [io.BytesIO(files.picture(path)) for path in tracklet.frames],
                        "pid": tracklet.pid,
                        "camid": tracklet.camid,
                        "tracklet_id": tracklet.tracklet_id,
                    },
                )
