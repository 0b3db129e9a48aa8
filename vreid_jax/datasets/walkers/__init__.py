"""Synthetic articulated pedestrians seen by several cameras, as a TFDS dataset."""
