"""Trained models: load, embed, save, convert, upload."""

from vreid_jax.inference.loading import adapted, load, save, search_thresholds, without_classifier
from vreid_jax.inference.model import Model, OneTracklet

__all__ = ["Model", "OneTracklet", "adapted", "load", "save", "search_thresholds", "without_classifier"]
