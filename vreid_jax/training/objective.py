"""The loss of a phase: the weighted sum of the terms that its configuration names, and what they remember."""

from typing import Any

from vreid_jax import losses
from vreid_jax.errors import InputError


def _softmax(outputs, batch, term, extra, key):
    del extra, key
    if "logits" not in outputs:
        raise InputError("the softmax loss needs a model with a classifier")
    return losses.softmax_cross_entropy(outputs["logits"], batch["label"], smoothing=term.smoothing)


def _triplet(outputs, batch, term, extra, key):
    del extra, key
    return losses.batch_hard_triplet(
        outputs["feature"], batch["label"], margin=term.margin, distance=term.distance, reduction=term.reduction
    )


def _clip_triplet(outputs, batch, term, extra, key):
    del extra, key
    if "similarity" not in outputs:
        raise InputError("the clip_triplet loss needs a model that compares sets of clips, as clip_similarity does")
    return losses.batch_hard_triplet_from_distances(
        -outputs["similarity"], batch["label"], margin=term.margin, reduction=term.reduction
    )


def _oim(outputs, batch, term, extra, key):
    memory = extra["oim"]
    return losses.oim(
        outputs["feature"],
        batch["label"],
        memory.table,
        memory.queue,
        temperature=term.temperature,
        subsample=term.subsample,
        key=key,
    )


def _oim_memory(term, feature_size: int, num_identities: int, unlabelled: bool):
    queue = term.queue if unlabelled else min(term.queue, 0)  # what is wrong is an error on any data
    return losses.OIMMemory.empty(num_identities, feature_size, queue, term.momentum)


TERMS = {"softmax": _softmax, "triplet": _triplet, "clip_triplet": _clip_triplet, "oim": _oim}
MEMORIES = {"oim": _oim_memory}  # terms that remember something between steps


def objective(outputs, batch, terms, extra=None, key=None):
    """Return the weighted sum of the terms with a weight, and each of them by name; float32 scalars.

    `extra` holds what terms remember (`memories`), `key` is for terms that draw.

    Raises:
      InputError: for a term that does not exist, or when every weight is 0.
    """
    values = {}
    total = 0.0
    for name, term in terms.items():
        if name not in TERMS:
            raise InputError(f"losses.{name} does not exist; the terms are {', '.join(TERMS)}")
        if term.weight:
            values[name] = TERMS[name](outputs, batch, term, extra, key)
            total = total + term.weight * values[name]
    if not values:
        raise InputError("every loss of the phase has weight 0")
    return total, values


def memories(terms, feature_size: int, num_identities: int, unlabelled: bool, before: dict[str, Any]) -> dict[str, Any]:
    """Return the `extra` of a phase that begins with `before`: of each term with a weight what it remembers.

    What a term remembers from an earlier phase stays, what one without a weight remembered goes, the rest of `before`
    is a system's own and stays. `unlabelled`: whether the training split has tracklets of pid -1.
    """
    kept = {
        name: value for name, value in before.items() if name not in MEMORIES or (name in terms and terms[name].weight)
    }
    for name, make in MEMORIES.items():
        if name in terms and terms[name].weight and name not in kept:
            kept[name] = make(terms[name], feature_size, num_identities, unlabelled)
    return kept


def remembered(extra: dict[str, Any], outputs, batch) -> dict[str, Any]:
    """Return `extra` after a step: what terms remember has seen the batch, the rest stays."""
    return {
        name: value.after(outputs["feature"], batch["label"]) if name in MEMORIES else value
        for name, value in extra.items()
    }
