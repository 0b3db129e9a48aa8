"""Who was where: one identity for a person's tracklets across cameras and times, and thresholds without labels."""

from vreid_jax.linking.band import Band, find_band, given_band
from vreid_jax.linking.calibrating import measure
from vreid_jax.linking.corrections import Correction, append_correction, read_corrections
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.linking.linker import LinkSettings, link
from vreid_jax.linking.sightings import Sightings, open_sightings
from vreid_jax.linking.walking import Walk, read_walks

__all__ = [
    "Band",
    "Correction",
    "Identities",
    "LinkSettings",
    "Sightings",
    "Walk",
    "append_correction",
    "find_band",
    "given_band",
    "link",
    "measure",
    "open_sightings",
    "read_corrections",
    "read_identities",
    "read_walks",
    "write_identities",
]
