"""How well a model tells people apart on tracks that it was not trained on."""

import numpy as np
from jaxtyping import Float, Int

STANDARD_ERRORS = 2


def held_back_ranks(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "N D"],
    held: Int[np.ndarray, " H"],
) -> Float[np.ndarray, " M"]:
    """Return for the M = 2 H halves of the held-back tracks one over the rank at which each finds its other half.

    It looks among its other half and the halves of all other tracks, by the cosine; ties count against it. That a person
    may have several tracks lowers this alike for all models: nothing that a model believes has a part in it.

    Args:
      first: [N, D] vectors at length 1 of the first halves of the tracks.
      second: likewise of the second halves.
      held: [H] the tracks held back.
    """
    found = []
    for one, other in ((first, second), (second, first)):
        cosines = one[held] @ other.T
        own = cosines[np.arange(len(held)), held]
        found.append(1 / (cosines >= own[:, None]).sum(1))
    return np.concatenate(found)


def clearly_worse(now: Float[np.ndarray, " M"], before: Float[np.ndarray, " M"]) -> bool:
    """Return whether the mean of paired scores has fallen by more than two standard errors of their differences."""
    change = now - before
    return bool(change.mean() < -STANDARD_ERRORS * change.std(ddof=1) / np.sqrt(len(change)))
