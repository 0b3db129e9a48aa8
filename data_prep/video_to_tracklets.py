"""Cut tracklets out of a video: `python data_prep/video_to_tracklets.py VIDEO TRACKS.txt OUT --halves-as-cameras`."""

import sys

from vreid_jax.cli import command, data_video

if __name__ == "__main__":
    sys.exit(command.run_alone(data_video, "video_to_tracklets.py"))
