"""Which tracklets make a batch: a pure function of (seed, position), so that any batch can be made again."""

import functools

import numpy as np
from jaxtyping import Int

from vreid_jax.errors import InputError


class ShuffleSampler:
    """Every tracklet `times` times per epoch, in an order drawn anew each epoch; the last, smaller batch is left out.

    With its number of frames as `times`, an epoch draws as many single frames as there are.
    """

    def __init__(self, times: Int[np.ndarray, " N"], batch_size: int, seed: int):
        self._rows = np.repeat(np.arange(len(times)), times)
        if len(self._rows) < batch_size:
            raise InputError(
                f"an epoch of the training split has {len(self._rows)} samples, fewer than batch_size = {batch_size}; "
                f"lower batch_size"
            )
        self.batch_size = batch_size
        self.batches_per_epoch = len(self._rows) // batch_size
        self._order = functools.lru_cache(maxsize=4)(
            lambda epoch: np.random.default_rng((seed, 1, epoch)).permutation(self._rows)
        )

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[B]` tracklets of batch `index`."""
        epoch, position = divmod(index, self.batches_per_epoch)
        return self._order(epoch)[position * self.batch_size :][: self.batch_size]


class IdentitySampler:
    """`P` identities and `K` tracklets of each, the tracklets of an identity adjacent; an epoch is a pass over the ids.

    An identity with fewer than `K` tracklets repeats them, each nearly equally often; the tracklets of an identity are
    taken from different cameras first. When `P` does not divide the number of identities, the rest of an epoch's order
    is left out.
    """

    def __init__(self, pids, camids, num_identities: int, clips_per_identity: int, seed: int):
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
        self._order = functools.lru_cache(maxsize=4)(
            lambda epoch: np.random.default_rng((seed, 2, epoch)).permutation(self._pids)
        )

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[P * K]` tracklets of batch `index`, identity by identity."""
        epoch, position = divmod(index, self.batches_per_epoch)
        chosen = self._order(epoch)[position * self._p :][: self._p]
        rng = np.random.default_rng((self._seed, 3, index))
        return np.concatenate([self._tracklets(pid, rng) for pid in chosen])

    def _tracklets(self, pid, rng) -> np.ndarray:
        rows = rng.permutation(self._rows[pid])
        # The n-th tracklet of every camera comes before any camera's (n+1)-th.
        turn = np.array([np.sum(self._camids[rows[:i]] == self._camids[row]) for i, row in enumerate(rows)])
        return np.resize(rows[np.argsort(turn, kind="stable")], self._k)
