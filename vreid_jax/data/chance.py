"""Whether something happens to a clip."""

import numpy as np


def happens(probability: float | int, rng: np.random.Generator) -> bool:
    """Draw whether; a probability of 0 draws nothing, so that what is off does not change what comes after it."""
    return probability > 0 and bool(rng.random() < probability)
