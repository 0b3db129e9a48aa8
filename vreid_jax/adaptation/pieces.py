"""Tracks cut in time, and which of the pieces form a batch."""

import functools

import numpy as np
from jaxtyping import Bool, Int

from vreid_jax import data


class Pieces:
    """Tracks cut into `count` pieces of nearly equal length, as `data.Tracklets`: piece p of track n is row n·count + p.

    `pids` are the numbers of the tracks, `camids` those of the pieces. A track has at least `count` frames.
    """

    def __init__(self, tracklets: data.Tracklets, count: int):
        self._tracklets, self.count = tracklets, count
        edges = np.arange(count + 1)[None] * np.asarray(tracklets.num_frames)[:, None] // count
        self._starts, self.num_frames = edges[:, :-1].reshape(-1), np.diff(edges, axis=1).reshape(-1)
        rows = np.arange(len(tracklets) * count)
        self.pids, self.camids = rows // count, rows % count
        self.tracklet_ids = np.array([f"{name}#{piece}" for name in tracklets.tracklet_ids for piece in range(count)])

    def __len__(self) -> int:
        return len(self.pids)

    def read(self, row: int, frame_numbers: np.ndarray) -> np.ndarray:
        """Decode frames of a piece, as `data.Tracklets`."""
        return self._tracklets.read(row // self.count, frame_numbers + self._starts[row])


class TogetherSampler:
    """Draws tracks with those that they are to be compared with, and of each two pieces.

    An epoch goes once through all tracks as seeds, a quarter of a batch at a time. Every seed brings tracks of the same
    person, then tracks that were seen with it, both at random; what is left of the batch is drawn from all others.

    Args:
      identities: [N] person of each track, as far as known.
      together: [N, N] tracks seen at the same time.
      pieces: of a track, at least 2.
      tracks: in a batch, `P`; all of them if there are fewer.
      seed: of all random choices.
    """

    def __init__(
        self,
        identities: Int[np.ndarray, " N"],
        together: Bool[np.ndarray, "N N"],
        pieces: int,
        tracks: int,
        seed: int,
    ):
        self._identities, self._together, self._pieces, self._seed = identities, together, pieces, seed
        self._tracks = min(tracks, len(identities))
        self._seeds = max(1, self._tracks // 4)
        self.batch_size = 2 * self._tracks
        self.batches_per_epoch = -(-len(identities) // self._seeds)

        def order(epoch: int) -> np.ndarray:
            return np.random.default_rng((seed, 1, epoch)).permutation(len(identities))

        self._order = functools.lru_cache(maxsize=4)(order)

    def batch(self, index: int) -> Int[np.ndarray, " B"]:
        """Return the `[2 P]` pieces of batch `index`, track by track."""
        epoch, position = divmod(index, self.batches_per_epoch)
        seeds = self._order(epoch)[position * self._seeds :][: self._seeds]
        rng = np.random.default_rng((self._seed, 2, index))
        tracks = self._with_company(seeds, rng)
        first = rng.integers(0, self._pieces, len(tracks))
        second = (first + rng.integers(1, self._pieces, len(tracks))) % self._pieces
        return (tracks[:, None] * self._pieces + np.stack([first, second], axis=1)).reshape(-1)

    def _with_company(self, seeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return `P` different tracks: seeds, their company by turns, others."""
        chosen = dict.fromkeys(seeds.tolist())
        companies = [self._company(seed, rng) for seed in seeds.tolist()]
        longest = max(len(company) for company in companies)
        by_turns = [company[turn] for turn in range(longest) for company in companies if turn < len(company)]
        others = rng.permutation(len(self._identities)).tolist()
        chosen |= dict.fromkeys([*by_turns, *others])
        return np.array(list(chosen)[: self._tracks])

    def _company(self, track: int, rng: np.random.Generator) -> list[int]:
        """Return tracks of the same person, then those seen together with it, each in random order."""
        same = self._identities == self._identities[track]
        same[track] = False
        return [
            int(other) for found in (same, self._together[track]) for other in rng.permutation(np.flatnonzero(found))
        ]


def pair_masks(
    tracks: Int[np.ndarray, " B"], identities: Int[np.ndarray, " N"], different: Bool[np.ndarray, "N N"]
) -> tuple[Bool[np.ndarray, "B B"], Bool[np.ndarray, "B B"]]:
    """Return which pairs of a batch are of one person, a clip with itself left out, and which are of two for sure.

    Args:
      tracks: [B] track of each clip.
      identities: [N] person of each track.
      different: [N, N] tracks of two people.
    """
    people = identities[tracks]
    positive = people[:, None] == people[None]
    negative = different[np.ix_(tracks, tracks)] & ~positive
    np.fill_diagonal(positive, False)
    return positive, negative
