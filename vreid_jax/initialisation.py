"""Where a run's parameters start: `config.init_from` names another run's workdir."""

import logging
from pathlib import Path

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax.errors import InputError
from vreid_jax.training.checkpoints import load_variables
from vreid_jax.training.state import matching

log = logging.getLogger(__name__)


def initial_variables(config, variables):
    """Return `variables` with those of the workdir `config.init_from` that `config.init_patterns` name in their place.

    A classifier for another number of identities is left as it is and named; anything else that does not fit is an
    error that lists both sides.

    Raises:
      InputError: when the workdir holds no checkpoint or that of another model.
    """
    found = _chosen(load_variables(Path(config.init_from).expanduser()), config.init_patterns)
    everything = flatten_dict(variables, sep="/")
    wanted = _chosen(variables, config.init_patterns)
    if not wanted:
        raise InputError(f"init_patterns {tuple(config.init_patterns)} match no parameter of this model")
    left_out = [n for n in wanted if "/classifier/" in n and n in found and found[n].shape != wanted[n].shape]
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    differing = [n for n in wanted if n in found and n not in left_out and found[n].shape != wanted[n].shape]
    if missing or unexpected or differing:
        raise InputError(
            f"init_from {config.init_from} is of another model: it lacks {missing[:5] or 'nothing'}, has "
            f"{unexpected[:5] or 'nothing'} too many, and differs in the shape of {differing[:5] or 'nothing'}"
        )
    if left_out:
        log.info("init_from: left out %s, of another number of identities", ", ".join(left_out))
    taken = {name: jnp.asarray(found[name]) for name in wanted if name not in left_out}
    return unflatten_dict(everything | taken, sep="/")


def _chosen(variables, patterns) -> dict:
    """The tensors, flat, whose name without its collection matches one of the patterns."""
    flat = flatten_dict(variables, sep="/")
    return {name: flat[name] for name in flat if matching([name.partition("/")[2]], patterns)}
