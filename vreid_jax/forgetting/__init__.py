"""Forget people: remove their vectors, pictures, pages and identities, and prove that they are gone."""

from vreid_jax.forgetting.forget import Outcome, forget
from vreid_jax.forgetting.selection import Selection

__all__ = ["Outcome", "Selection", "forget"]
