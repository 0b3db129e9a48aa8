"""The base of builders whose data a user must ask for: tracklets are listed by name, frames checked and copied."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import ClassVar

from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import SEEDED, Listing, Published, Tracklet, compare
from vreid_jax.datasets.processes import FEWEST_READ
from vreid_jax.datasets.tracklet_builder import TrackletBuilder

log = logging.getLogger(__name__)


class ManualBuilder(TrackletBuilder, skip_registration=True):
    """A builder that reads `manual_dir`; a subclass knows its layout.

    A build logs a warning for every number that differs from the published one, for halves that were drawn because the
    file of the official ones is missing, and for every archive left out.

    Attributes:
      PREPARE_COMMAND: what the user runs to build the dataset.
      manual_dir: folder or archive with the data; None is the folder that TFDS was given.
      warns: whether to log these warnings; a caller that has told the numbers itself sets it to False.
    """

    PREPARE_COMMAND: ClassVar[str]
    fewest = FEWEST_READ
    manual_dir: str | os.PathLike | None = None
    warns: bool = True

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
        if self.warns:
            differing = [" ".join(str(each).split()) for each in compare(listing, self.published()) if each.differs]
            seeded = [f"split is {listing.split_source}"] if listing.split_source.startswith(SEEDED) else []
            for words in (*differing, *seeded, *(f"left out: {reason}" for reason in files.left_out)):
                log.warning("%s: %s", self.info.full_name, words)
        self.describe(split_source=listing.split_source)
        return {name: self._generate_examples(root, name, split) for name, split in listing.splits().items()}

    def _generate_examples(self, root, split: str, tracklets: list[Tracklet]) -> Iterator[tuple[str, dict]]:
        with contextlib.closing(Pictures(root)) as pictures:
            yield from self._examples(tracklets, self._in_order(pictures, tracklets), f"{self.name} {split}")


class Pictures:
    """Returns the pictures of a tracklet, each checked to be whole; in every process it opens the data anew."""

    def __init__(self, root: str | os.PathLike):
        self._root, self._files = root, None

    def __reduce__(self):
        return type(self), (self._root,)

    def __call__(self, tracklet: Tracklet) -> list[bytes]:
        """Return the contents of its pictures; `InputError` for one that is not whole."""
        if self._files is None:
            self._files = ManualFiles(self._root)
        return [self._files.picture(path) for path in tracklet.frames]

    def close(self) -> None:
        """Close what was opened in this process."""
        if self._files is not None:
            self._files.__exit__()


class PictureCounts:
    """Returns how many pictures a tracklet has, after checking each as `Pictures` does."""

    def __init__(self, root: str | os.PathLike):
        self._pictures = Pictures(root)

    def __call__(self, tracklet: Tracklet) -> int:
        """Return the number of its pictures; `InputError` for one that is not whole."""
        return len(self._pictures(tracklet))
