"""Where a run's parameters start: `config.init_from` names another run's workdir."""

import logging
from pathlib import Path

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax.errors import InputError
from vreid_jax.training.checkpoints import load_variables

log = logging.getLogger(__name__)


def initial_variables(config, variables, module):
    """Return `variables` with those of the workdir `config.init_from` in their place.

    A classifier for another number of identities is left as it is and named; anything else that does not fit is an
    error that lists both sides.

    Raises:
      InputError: when the workdir holds no checkpoint or that of another model.
    """
    del module
    found = flatten_dict(load_variables(Path(config.init_from).expanduser()), sep="/")
    wanted = flatten_dict(variables, sep="/")
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
    return unflatten_dict({n: v if n in left_out else jnp.asarray(found[n]) for n, v in wanted.items()}, sep="/")
