"""The loss of a phase: the weighted sum of the terms that its configuration names."""

from vreid_jax import losses
from vreid_jax.errors import InputError


def _softmax(outputs, batch, term):
    if "logits" not in outputs:
        raise InputError("the softmax loss needs a model with a classifier")
    return losses.softmax_cross_entropy(outputs["logits"], batch["label"], smoothing=term.smoothing)


def _triplet(outputs, batch, term):
    return losses.batch_hard_triplet(
        outputs["feature"], batch["label"], margin=term.margin, distance=term.distance, reduction=term.reduction
    )


TERMS = {"softmax": _softmax, "triplet": _triplet}


def objective(outputs, batch, terms):
    """Return the weighted sum of the terms with a weight, and each of them by name; float32 scalars.

    Raises:
      InputError: for a term that does not exist, or when every weight is 0.
    """
    values = {}
    total = 0.0
    for name, term in terms.items():
        if name not in TERMS:
            raise InputError(f"losses.{name} does not exist; the terms are {', '.join(TERMS)}")
        if term.weight:
            values[name] = TERMS[name](outputs, batch, term)
            total = total + term.weight * values[name]
    if not values:
        raise InputError("every loss of the phase has weight 0")
    return total, values
