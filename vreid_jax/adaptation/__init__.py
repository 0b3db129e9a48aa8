"""Adapting a trained model, without labels, to the cameras that it is used on."""

from vreid_jax.adaptation.footage import Footage, open_footage
from vreid_jax.adaptation.rounds import Adapted, Round, adapt
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.adaptation.synthetic import open_synthetic

__all__ = ["AdaptationSettings", "Adapted", "Footage", "Round", "adapt", "open_footage", "open_synthetic"]
