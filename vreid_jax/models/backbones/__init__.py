"""Backbones: frames or clips in, named endpoints out."""
