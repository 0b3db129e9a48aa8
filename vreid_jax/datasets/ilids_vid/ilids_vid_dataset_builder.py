"""TFDS builder of iLIDS-VID."""

from vreid_jax.datasets.ilids_vid import layout
from vreid_jax.datasets.manual import person_splits
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Published


class Builder(ManualBuilder):
    """iLIDS-VID: 300 persons in two cameras of an airport."""

    BUILDER_CONFIGS = person_splits.configs()
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    iLIDS-VID is for academic research; its pictures come from the i-LIDS recordings of the UK Home Office, whose
    conditions hold. Its page, http://www.eecs.qmul.ac.uk/~xiatian/downloads_qmul_iLIDS-VID_ReID_dataset.html, says how to
    get i-LIDS-VID.tar. Put it into a folder, packed or unpacked:
      i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png ...   and cam2
      train-test people splits/train_test_splits_ilidsvid.mat            the ten official divisions
    """
    PREPARE_COMMAND = "python data_prep/prepare.py ilids_vid --manual_dir=FOLDER"

    def list_tracklets(self, files: ManualFiles) -> Listing:
        """List the tracklets of this division."""
        return layout.list_tracklets(files, person_splits.number_of(self))

    def published(self) -> tuple[Published, ...]:
        """Return the published numbers of iLIDS-VID."""
        return layout.PUBLISHED
