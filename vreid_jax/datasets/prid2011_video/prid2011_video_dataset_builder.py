"""TFDS builder of PRID 2011."""

from vreid_jax.datasets.manual import person_splits
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Published
from vreid_jax.datasets.prid2011_video import layout


class Builder(ManualBuilder):
    """PRID 2011: 178 persons in two cameras above streets, the multi-shot part."""

    BUILDER_CONFIGS = person_splits.configs()
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    PRID 2011 is for academic research. Its page,
    https://www.tugraz.at/institute/icg/research/team-bischof/learning-recognition-surveillance/downloads/prid11, has
    prid_2011.zip. Put it into a folder, packed or unpacked, with a file of the ten divisions if you have one:
      prid_2011/multi_shot/cam_a/person_0001/0001.png ...   and cam_b
      splits_prid2011.json or train_test_splits_prid.mat
    """
    PREPARE_COMMAND = "python data_prep/prepare.py prid2011 --manual_dir=FOLDER"

    def list_tracklets(self, files: ManualFiles) -> Listing:
        """List the tracklets of this division."""
        return layout.list_tracklets(files, person_splits.number_of(self))

    def published(self) -> tuple[Published, ...]:
        """Return the published numbers of PRID 2011."""
        return layout.PUBLISHED
