"""TFDS builder of the dataset `folder`: tracklets that a user keeps as folders of pictures."""

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from vreid_jax.datasets import progress
from vreid_jax.datasets.processes import FEWEST_READ
from vreid_jax.datasets.tracklet_builder import TrackletBuilder
from vreid_jax.datasets.tracklet_folder import layout
from vreid_jax.errors import InputError

log = logging.getLogger(__name__)


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """A folder and what to do about unreadable frames; the name is a fingerprint, so a changed folder is built again."""

    path: str = ""
    bad_frames: str = "error"


def folder_config(path: str | os.PathLike, bad_frames: str = "error") -> FolderConfig:
    """Return the configuration of a folder.

    Args:
      path: folder with query and gallery, and with train if it is to be trained on.
      bad_frames: "error", or "skip" to leave unreadable frames out and count them in the metadata.

    Raises:
      InputError: the folder or a split is missing, a name does not parse, or a tracklet has no frames.
    """
    if bad_frames not in layout.BAD_FRAMES:
        raise InputError(f"bad_frames={bad_frames!r} must be one of {', '.join(layout.BAD_FRAMES)}")
    root = layout.find(path)
    for split in layout.splits_of(root):
        layout.list_split(root, split)
    return FolderConfig(name=layout.fingerprint(root, bad_frames), path=str(root), bad_frames=bad_frames)


class Builder(TrackletBuilder):
    """Tracklets in folders `{train,query,gallery}/<pid>/c<camid>_<name>/<frame>.jpg`; `train` may be missing."""

    fewest = FEWEST_READ

    def _create_builder_config(self, builder_config, *args, **kwargs):
        if isinstance(builder_config, FolderConfig):
            return builder_config  # TFDS would warn that it is not in BUILDER_CONFIGS, where no folder can be
        return super()._create_builder_config(builder_config, *args, **kwargs)

    def _split_generators(self, dl_manager):
        config = self.builder_config
        if not isinstance(config, FolderConfig):
            raise InputError(f"dataset 'folder' needs the field path, a folder with {layout.NEEDED}")
        root, splits, skipped = Path(config.path), {}, 0
        for split in layout.splits_of(root):
            listed = layout.list_split(root, split)
            checked = self._in_order(functools.partial(layout.check_frames, bad_frames=config.bad_frames), listed)
            shown = progress.tracklets(listed, f"checking {split}")
            splits[split] = [tracklet for tracklet, _ in zip(checked, shown, strict=True)]
            skipped += sum(len(tracklet.frames) for tracklet in listed)
            skipped -= sum(len(tracklet.frames) for tracklet in splits[split])
        layout.check_shared_names(splits["query"], splits["gallery"])
        train, test = splits.get("train", []), [*splits["query"], *splits["gallery"]]
        try:
            layout.check_held_out(train, test)
        except InputError as error:  # who only scores by a folder has no use for its train, and may have copied it
            log.warning("%s before you train on this folder", error)
        else:
            self._tell_of_people(root, train, test)
        self.describe(skipped_frames=skipped, path=config.path)
        return {split: self._generate_examples(split, tracklets) for split, tracklets in splits.items()}

    def _tell_of_people(
        self, root: Path, train: list[layout.FolderTracklet], test: list[layout.FolderTracklet]
    ) -> None:
        if both := layout.people_on_both_sides(train, test):
            log.warning(
                "%s: pids of train are also in query or gallery (%d; the first is %d): where they are the same person, scores "
                "are of somebody who was trained on",
                root,
                len(both),
                both[0],
            )

    def _generate_examples(self, split: str, tracklets: list[layout.FolderTracklet]) -> Iterator[tuple[str, dict]]:
        # They are checked already, and reading a picture costs less than sending it from another process.
        return self._examples(tracklets, map(_pictures, tracklets), f"folder {split}")


def _pictures(tracklet: layout.FolderTracklet) -> list[bytes]:
    return [frame.read_bytes() for frame in tracklet.frames]
