"""Cuts tracklets out of a video: `python data_prep/video_to_tracklets.py VIDEO TRACKS.txt OUT --halves-as-cameras`."""

import sys

from vreid_jax.cli.data_video import main

if __name__ == "__main__":
    sys.exit(main())
