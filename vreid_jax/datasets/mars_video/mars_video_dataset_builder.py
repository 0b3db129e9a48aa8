"""TFDS builder of MARS."""

from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Published
from vreid_jax.datasets.mars_video import layout


class Builder(ManualBuilder):
    """MARS: motion analysis and re-identification set, 1,261 pedestrians in six cameras."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    MARS is for academic research. Its page, http://zheng-lab.cecs.anu.edu.au/Project/project_mars.html, says how to get
    bbox_train.zip and bbox_test.zip; the lists and tables are the folder info of
    https://github.com/liangzheng06/MARS-evaluation. Put them into one folder, packed or unpacked:
      bbox_train/0001/0001C1T0001F001.jpg ...   or bbox_train.zip
      bbox_test/00-1/..., bbox_test/0000/...    or bbox_test.zip
      info/{train_name.txt, test_name.txt, tracks_train_info.mat, tracks_test_info.mat, query_IDX.mat}
    """
    PREPARE_COMMAND = "python data_prep/prepare.py mars --manual_dir=FOLDER"

    def list_tracklets(self, files: ManualFiles) -> Listing:
        """List the tracklets of the three splits."""
        return layout.list_tracklets(files)

    def published(self) -> tuple[Published, ...]:
        """Return the published numbers of MARS."""
        return layout.PUBLISHED
