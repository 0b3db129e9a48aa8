"""The loss of a phase: the weighted sum of its terms, and what they remember between steps."""

from collections.abc import Mapping
from typing import Any

import jax

from vreid_jax.errors import InputError
from vreid_jax.losses import TERMS, Term


def objective(outputs, batch, terms: Mapping[str, Term], extra=None, key=None):
    """Return the weighted sum of the terms, and each of them by name; float32 scalars.

    `extra` holds what terms remember (see `memories`), `key` is for terms that draw.

    Raises:
      InputError: for a term that needs an output which the model does not have.
    """
    values = {}
    total = 0.0
    for name, term in terms.items():
        output, words = term.needs
        if output not in outputs:
            raise InputError(words)
        values[name] = term(outputs, batch, (extra or {}).get(name), key)
        total = total + term.weight * values[name]
    return total, values


def memories(
    terms: Mapping[str, Term], feature_size: int, num_identities: int, unlabelled: bool, before: dict[str, Any]
) -> dict[str, Any]:
    """Return the `extra` of a phase that begins with `before`: for each of its terms what it remembers.

    The arrays that a term remembers from an earlier phase stay, with the settings of this one, unless this phase's have
    other shapes; what a term that the phase does not use remembered goes; the rest of `before` belongs to the system
    and stays. `unlabelled` says whether the training split has tracklets of pid -1.
    """
    kept = {name: value for name, value in before.items() if name not in TERMS or name in terms}
    for name, term in terms.items():
        if term.remembers:
            new = term.new_memory(feature_size, num_identities, unlabelled)
            kept[name] = _continued(new, before.get(name))
    return kept


def _continued(new: Any, old: Any) -> Any:
    """Return a term's new memory with the arrays of the old one where they have the same shapes, else as it is."""
    leaves = jax.tree.leaves(old)
    same = [leaf.shape for leaf in leaves] == [leaf.shape for leaf in jax.tree.leaves(new)]
    return jax.tree.unflatten(jax.tree.structure(new), leaves) if same else new


def remembered(extra: dict[str, Any], terms: Mapping[str, Term], outputs, batch) -> dict[str, Any]:
    """Return `extra` after a step: what the terms remember has seen the batch, the rest stays."""
    return {
        name: value.after(outputs["feature"], batch["label"]) if name in terms and terms[name].remembers else value
        for name, value in extra.items()
    }
