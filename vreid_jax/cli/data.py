"""Build, prepare, cut or show a dataset: vreid data {build,prepare,video,show}."""

from vreid_jax.cli import data_build, data_prepare, data_show, data_video

EXAMPLE = """vreid data build walkers/small
  vreid data prepare mars --manual_dir=FOLDER --check-only
  vreid data video vtest.avi vtest_tracks.txt people --halves-as-cameras
  vreid data show walkers/small --out=sheet.png"""

COMMANDS = {"build": data_build, "prepare": data_prepare, "video": data_video, "show": data_show}
