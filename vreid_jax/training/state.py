"""What training changes: parameters, batch statistics, optimizer state, and a system's own arrays."""

from typing import Any

from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from vreid_jax.config.fields import matching
from vreid_jax.training.average import averaged
from vreid_jax.training.network import Network


class TrainState(struct.PyTreeNode):
    """Everything that a step reads and writes.

    Attributes:
      step: int32, steps done in this phase.
      params: parameters, nested by module.
      batch_stats: running statistics of the batch norms, nested by module.
      opt_state: the optimizer's state, over the parameters that train in this phase.
      extra: arrays of a system's or a loss's own (a look-up table, a queue), by name, and the average of the weights
        where the phase keeps one; empty for most.
      network: what the parameters are of, for `prepare`; no array, so in no checkpoint.
    """

    step: Any  # an array; any leaf inside tree transformations, as for the other fields
    params: Any
    batch_stats: Any
    opt_state: Any
    extra: Any = struct.field(default_factory=dict)
    network: Network | None = struct.field(pytree_node=False, default=None)

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables for everything but the next step: see `training.average`."""
        return averaged(self.params, self.batch_stats, self.extra)


def split_params(params, patterns) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part parameters into those that train and those that stay, both flat: `a/b/kernel` -> array."""
    flat = flatten_dict(params, sep="/")
    chosen = set(matching(flat, patterns))
    return {k: v for k, v in flat.items() if k in chosen}, {k: v for k, v in flat.items() if k not in chosen}


def join_params(*parts: dict[str, Any]):
    """Put flat parts back together into nested parameters."""
    return unflatten_dict({name: value for part in parts for name, value in part.items()}, sep="/")
