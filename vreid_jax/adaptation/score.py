"""How well a model tells people apart on tracks that it was not trained on."""

import numpy as np
from jaxtyping import Float, Int

TEMPERATURE = 0.1


def held_back_score(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "N D"],
    held: Int[np.ndarray, " H"],
) -> float:
    """Return the mean logarithm of the probability with which a half of a held-back track finds its other half.

    The probability is the softmax of the cosines to the other half and to the halves of all other tracks; at most 0.
    Unlike a rank it changes with every step of training, also where few tracks are held back. That a person may have
    several tracks lowers it alike for all models: nothing that a model believes has a part in it.

    Args:
      first: [N, D] vectors at length 1 of the first halves of the tracks.
      second: likewise of the second halves.
      held: [H] the tracks held back.
    """
    found = []
    for one, other in ((first, second), (second, first)):
        logits = (one[held] @ other.T).astype(np.float64) / TEMPERATURE
        highest = logits.max(1)
        found.append(logits[np.arange(len(held)), held] - highest - np.log(np.exp(logits - highest[:, None]).sum(1)))
    return float(np.mean(found))
