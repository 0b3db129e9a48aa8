"""Build, prepare, cut, draw or show a dataset: vreid data {build,prepare,video,scene,show}."""

from vreid_jax.cli import data_build, data_prepare, data_scene, data_show, data_video

EXAMPLE = """vreid data build walkers/small
  vreid data prepare mars --manual_dir=FOLDER --check-only
  vreid data video vtest.avi vtest_tracks.txt people --halves-as-cameras
  vreid data scene --cameras=3 --people=12 --seconds=40 --out=street
  vreid data show walkers/small --out=sheet.png"""

COMMANDS = {
    "build": data_build,
    "prepare": data_prepare,
    "video": data_video,
    "scene": data_scene,
    "show": data_show,
}
