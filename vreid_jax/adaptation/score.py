"""How well a model tells people apart on tracks that it was not trained on."""

import numpy as np
from jaxtyping import Bool, Float, Int

TEMPERATURE = 0.1


def held_back_score(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "N D"],
    held: Int[np.ndarray, " H"],
    others: Bool[np.ndarray, "N N"],
) -> float:
    """Return the mean logarithm of the probability with which a half of a held-back track finds its other half.

    The probability is the softmax of the cosines over the other half and the halves of all tracks of other people;
    at most 0. Unlike a rank it changes with every step of training, also where few tracks are held back.

    Args:
      first: [N, D] vectors at length 1 of the first halves of the tracks.
      second: likewise of the second halves.
      held: [H] the tracks held back.
      others: [N, N] tracks that are not one person, as far as known.
    """
    found = []
    for one, other in ((first, second), (second, first)):
        logits = (one[held] @ other.T).astype(np.float64) / TEMPERATURE
        own = logits[np.arange(len(held)), held]
        among = np.where(others[held], logits, -np.inf)
        among[np.arange(len(held)), held] = own
        highest = among.max(1)
        found.append(own - highest - np.log(np.exp(among - highest[:, None]).sum(1)))
    return float(np.mean(found))
