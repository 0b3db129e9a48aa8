"""Tracklets cut out of a video."""
