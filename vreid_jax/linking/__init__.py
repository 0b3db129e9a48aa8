"""Who was where: one identity for a person's tracklets across cameras and times, and thresholds without labels."""

from vreid_jax.linking.corrections import Correction, append_correction, read_corrections
from vreid_jax.linking.identities import Identities, read_identities

__all__ = ["Correction", "Identities", "append_correction", "read_corrections", "read_identities"]
