"""Which tracklets form a batch: a pure function of (seed, position), so that any batch can be drawn again."""

# NumPy leaves the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from vreid_jax.errors import InputError


@runtime_checkable
class Sampler(Protocol):
    """What training draws its batches from."""

    batch_size: int
    batches_per_epoch: int

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[B]` tracklets of batch `index`, a pure function of it."""
        ...


class ShuffleSampler:
    """Draws every tracklet `times` times per epoch, in a new random order each epoch.

    The last batch of an epoch is dropped if it is smaller than the others. With the tracklets' numbers of frames as
    `times`, an epoch draws as many single frames as there are.

    Args:
      times: `[N]` how often each tracklet occurs in an epoch.
      batch_size: tracklets in a batch.
      seed: of all random orders.

    Raises:
      InputError: if an epoch is smaller than a batch.
    """

    def __init__(self, times: Int[np.ndarray, " N"], batch_size: int, seed: int):
        self._rows = np.repeat(np.arange(len(times)), times)
        if len(self._rows) < batch_size:
            raise InputError(
                f"an epoch of the training split has {len(self._rows)} samples, fewer than batch_size = {batch_size}; "
                "lower batch_size"
            )
        self.batch_size = batch_size
        self.batches_per_epoch = len(self._rows) // batch_size
        self._seed = seed

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[B]` tracklets of batch `index`."""
        epoch, position = divmod(index, self.batches_per_epoch)
        return _order(self, epoch)[position * self.batch_size :][: self.batch_size]

    def order(self, epoch: int) -> Int[np.ndarray, " N"]:
        """Return the tracklets in the order of an epoch."""
        return np.random.default_rng((self._seed, 1, epoch)).permutation(self._rows)


class IdentitySampler:
    """Draws `P` identities and `K` tracklets of each; an epoch is one pass over the identities.

    The tracklets of an identity are adjacent in the batch and come from different cameras where possible. An identity
    with fewer than `K` tracklets repeats them, each nearly equally often. If `P` does not divide the number of
    identities, the remainder of an epoch's order is dropped.

    Args:
      pids: `[N]` identities of the tracklets.
      camids: `[N]` their cameras.
      num_identities: `P`.
      clips_per_identity: `K`.
      seed: of all random choices.

    Raises:
      InputError: if there are fewer than `P` identities.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, num_identities: int, clips_per_identity: int, seed: int):
        self._pids = np.unique(pids)
        if len(self._pids) < num_identities:
            raise InputError(
                f"the training split has {len(self._pids)} identities, fewer than the {num_identities} of a P x K batch; "
                f"lower identities_per_batch"
            )
        self._rows = {pid: np.flatnonzero(pids == pid) for pid in self._pids}
        self._camids = np.asarray(camids)
        self._p, self._k, self._seed = num_identities, clips_per_identity, seed
        self.batch_size = num_identities * clips_per_identity
        self.batches_per_epoch = len(self._pids) // num_identities

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[P * K]` tracklets of batch `index`, identity by identity."""
        epoch, position = divmod(index, self.batches_per_epoch)
        chosen = _order(self, epoch)[position * self._p :][: self._p]
        rng = np.random.default_rng((self._seed, 3, index))
        return np.concatenate([self._tracklets(pid, rng) for pid in chosen])

    def order(self, epoch: int) -> Int[np.ndarray, " I"]:
        """Return the identities in the order of an epoch."""
        return np.random.default_rng((self._seed, 2, epoch)).permutation(self._pids)

    def _tracklets(self, pid: Any, rng: np.random.Generator) -> np.ndarray:
        """Draw `K` tracklets of an identity."""
        rows = rng.permutation(self._rows[pid])
        # The n-th tracklet of every camera comes before the (n+1)-th of any.
        turn = np.array([np.sum(self._camids[rows[:i]] == self._camids[row]) for i, row in enumerate(rows)])
        return np.resize(rows[np.argsort(turn, kind="stable")], self._k)


@functools.lru_cache(maxsize=4)
def _order(sampler: ShuffleSampler | IdentitySampler, epoch: int) -> np.ndarray:
    # Not a cache of the sampler's own: worker processes get a copy of the sampler, and caches cannot be copied.
    return sampler.order(epoch)
