"""TFDS builder of DukeMTMC-VideoReID."""

from vreid_jax.datasets.duke_video import layout
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Published


class Builder(ManualBuilder):
    """DukeMTMC-VideoReID: 1,404 persons and 408 distractors in eight cameras."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    DukeMTMC was withdrawn by its authors, and DukeMTMC-VideoReID with it: there is nothing to download any more. This
    builder reads a copy that you already have, under the conditions that you got it with. Put it into a folder, packed or
    unpacked:
      DukeMTMC-VideoReID/{train,query,gallery}/<pid>/<tracklet>/0001C6F0099X30823.jpg
    """
    PREPARE_COMMAND = "python data_prep/prepare.py duke_video --manual_dir=FOLDER"

    def list_tracklets(self, files: ManualFiles) -> Listing:
        """List the tracklets of the three splits."""
        return layout.list_tracklets(files)

    def published(self) -> tuple[Published, ...]:
        """Return the published numbers of DukeMTMC-VideoReID."""
        return layout.PUBLISHED
