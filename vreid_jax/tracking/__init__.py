"""From a video to tracks: detectors of people, and following the same person from frame to frame."""

from vreid_jax.tracking.association import TrackSettings
from vreid_jax.tracking.detection import Detector
from vreid_jax.tracking.detectors import make_detector
from vreid_jax.tracking.run import Tracked, track_video

__all__ = ["Detector", "TrackSettings", "Tracked", "make_detector", "track_video"]
