"""Build, prepare, cut or show a dataset, or compute its flow: vreid data {build,prepare,video,show,flow}."""

from vreid_jax.cli import data_build, data_flow, data_prepare, data_show, data_video

EXAMPLE = """vreid data build walkers/small
  vreid data prepare mars --manual_dir=FOLDER --check-only
  vreid data video vtest.avi vtest_tracks.txt people --halves-as-cameras
  vreid data show walkers/small --out=sheet.png
  vreid data flow walkers/small"""

COMMANDS = {"build": data_build, "prepare": data_prepare, "video": data_video, "show": data_show, "flow": data_flow}
