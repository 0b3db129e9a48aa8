"""Cuts tracklets out of a video: `python data_prep/video_to_tracklets.py VIDEO TRACKS.txt OUT --halves-as-cameras`."""

import sys

from vreid_jax.datasets.video_command import main

if __name__ == "__main__":
    sys.exit(main())
