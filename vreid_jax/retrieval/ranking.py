"""CMC and average precision from a matrix of distances."""

import dataclasses
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.retrieval import arrays, matching
from vreid_jax.retrieval.arrays import ArrayLike

CMC_RULES = ("first_match", "allshots", "single_gallery_shot")

# With few good rows it is faster to count the nearer rows of each, with many to sort all distances once.
MOST_GOOD_COUNTED = 96


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The result of `rank`.

    Ranks are 0-based. A query without a good gallery row is not valid and does not enter any mean.

    Attributes:
      cmc: [max_rank] float64; `cmc[k - 1]` is the share of valid queries with a match among the first k, NaN without a
        valid query.
      average_precision: [Q] float64, the standard variant; NaN where not valid.
      average_precision_trapezoid: [Q] float64, the variant of the MARS and Market code; NaN where not valid.
      valid: [Q] bool.
      num_gallery: gallery rows that are not junk.
      match_query: [M] the query of each good pair, ascending.
      match_gallery: [M] its gallery row.
      match_rank: [M] its rank among the rows that are not ignored, ascending within a query.
    """

    cmc: np.ndarray
    average_precision: np.ndarray
    average_precision_trapezoid: np.ndarray
    valid: np.ndarray
    num_gallery: int
    match_query: np.ndarray
    match_gallery: np.ndarray
    match_rank: np.ndarray

    @property
    def mAP(self) -> float:
        """The mean of `average_precision` over valid queries; NaN without any."""
        return _mean(self.average_precision[self.valid])

    @property
    def mAP_trapezoid(self) -> float:
        """The mean of `average_precision_trapezoid` over valid queries; NaN without any."""
        return _mean(self.average_precision_trapezoid[self.valid])

    @property
    def num_queries(self) -> int:
        """The number of queries, valid or not."""
        return len(self.valid)

    @property
    def num_valid_queries(self) -> int:
        """The number of queries with at least one good gallery row."""
        return int(self.valid.sum())

    @property
    def first_match(self) -> np.ndarray:
        """The rank [Q] of the nearest good row, int64; -1 where not valid."""
        first = np.full(self.num_queries, -1, np.int64)
        queries, position = np.unique(self.match_query, return_index=True)
        first[queries] = self.match_rank[position]
        return first

    def rank(self, k: int) -> float:
        """Return rank-k as a fraction; raise `InputError` for a k outside 1 … `len(cmc)`."""
        if not 1 <= k <= len(self.cmc):
            raise InputError(f"rank-{k} was not computed: k must be in 1 … {len(self.cmc)} (max_rank).")
        return float(self.cmc[k - 1])

    def summary(self, ranks: tuple[int, ...] = (1, 5, 10, 20)) -> dict[str, Any]:
        """Return the entry of a protocol in `results.json`: counts, fractions and the CMC as plain Python numbers."""
        return {
            "num_queries": self.num_queries,
            "num_valid_queries": self.num_valid_queries,
            "num_gallery": self.num_gallery,
            "mAP": self.mAP,
            "mAP_trapezoid": self.mAP_trapezoid,
            **{f"rank{k}": self.rank(k) for k in ranks if k <= len(self.cmc)},
            "cmc": self.cmc.tolist(),
        }


def rank(
    distances: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    max_rank: int = 50,
    cmc: str = "first_match",
    repeats: int = 10,
    seed: int = 0,
) -> Ranking:
    """Rank the gallery for each query and compute the CMC and both average precisions.

    Good, ignored and negative rows are those of `matching`. Ignored rows are removed before ranks are counted, and ties
    go to the smaller gallery index. With p_j the rank of the j-th of n good rows (p and j 0-based), the standard average
    precision is 1/n Σ (j+1)/(p_j+1) and the trapezoid variant 1/n Σ ½[(j+1)/(p_j+1) + (j/p_j if p_j > 0 else 1)].

    Args:
      distances: [Q, G], smaller is nearer, compared in the dtype given.
      query_pids: [Q] identities, integers.
      gallery_pids: [G] likewise.
      query_camids: [Q] cameras, integers.
      gallery_camids: [G] likewise.
      max_rank: length of the CMC.
      cmc: "first_match" is the usual rule; "allshots" counts every good row, at its rank without the good rows before
        it, with weight 1/n; "single_gallery_shot" draws one row of each identity that is not ignored as the gallery
        (each distractor is an identity of its own). The average precisions do not depend on it.
      repeats: draws of "single_gallery_shot".
      seed: of these draws.

    Returns:
      The ranking; without a valid query its CMC and means are NaN.

    Raises:
      InputError: for an empty gallery or query set, lengths that do not fit, NaN, and options out of range.
    """
    matrix = arrays.distances("distances", distances)
    num_queries, num_gallery = matrix.shape
    query_ids = arrays.identities("query_pids", query_pids, num_queries)
    query_cameras = arrays.identities("query_camids", query_camids, num_queries)
    gallery_ids = arrays.identities("gallery_pids", gallery_pids, num_gallery)
    gallery_cameras = arrays.identities("gallery_camids", gallery_camids, num_gallery)
    check_max_rank(max_rank)
    if repeats < 1 or seed < 0:
        raise InputError(f"repeats must be at least 1 and seed not negative, not {repeats} and {seed}.")
    if cmc not in CMC_RULES:
        raise InputError(f"cmc must be one of {CMC_RULES}, not {cmc!r}.")

    counts = np.zeros(num_queries, np.int64)
    rows: list[np.ndarray] = []
    ranks: list[np.ndarray] = []
    for query, good, ignored in matching.matches(query_ids, gallery_ids, query_cameras, gallery_cameras):
        counts[query] = len(good)
        if len(good):
            good, good_ranks = _good_ranks(matrix[query], good, ignored)
            rows.append(good)
            ranks.append(good_ranks)
    match_gallery = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    match_rank = np.concatenate(ranks) if ranks else np.zeros(0, np.int64)
    found = ranking(counts, match_gallery, match_rank, gallery_ids, max_rank)
    if cmc == "first_match":
        return found
    if cmc == "allshots":
        order = order_within(counts)
        curve = _cmc(match_rank - order, 1.0 / counts[found.match_query], max_rank)
    else:
        shots = _single_shots(matrix, gallery_ids, found.match_query, match_gallery, counts, repeats, seed)
        curve = _cmc(shots, np.ones(len(shots)), max_rank)
    return dataclasses.replace(found, cmc=curve)


def ranking(
    counts: np.ndarray, match_gallery: np.ndarray, match_rank: np.ndarray, gallery_pids: np.ndarray, max_rank: int
) -> Ranking:
    """Return the result for the ranks of all good pairs, by query and from near to far, with the usual CMC.

    Args:
      counts: [Q] good pairs of each query.
      match_gallery: [M] the gallery row of each good pair.
      match_rank: [M] its 0-based rank.
      gallery_pids: [G] identities.
      max_rank: length of the CMC.
    """
    valid = counts > 0
    match_query = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    order = order_within(counts)
    standard, trapezoid = average_precisions(match_query, match_rank, order, counts)
    return Ranking(
        cmc=_cmc(match_rank[order == 0], np.ones(int(valid.sum())), max_rank),
        average_precision=standard,
        average_precision_trapezoid=trapezoid,
        valid=valid,
        num_gallery=int((gallery_pids != matching.JUNK).sum()),
        match_query=match_query,
        match_gallery=match_gallery,
        match_rank=match_rank,
    )


def check_max_rank(max_rank: int) -> None:
    """Raise `InputError` for a CMC without an entry."""
    if max_rank < 1:
        raise InputError(f"max_rank must be at least 1, not {max_rank}.")


def order_within(counts: np.ndarray) -> np.ndarray:
    """Return the 0-based position [M] of each good pair among those of its query, of which there are `counts` [Q]."""
    before: np.ndarray = np.repeat(np.cumsum(counts) - counts, counts)
    return np.arange(len(before)) - before


def average_precisions(
    match_query: np.ndarray, match_rank: np.ndarray, order: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the standard and the trapezoid average precision [Q] from the ranks of the good pairs.

    Args:
      match_query: [M] the query of each good pair.
      match_rank: [M] its 0-based rank.
      order: [M] its 0-based position among the good pairs of its query.
      counts: [Q] good pairs of each query; where it is 0 the result is NaN.
    """
    precision = (order + 1) / (match_rank + 1)
    before = np.divide(order, match_rank, out=np.ones(len(order)), where=match_rank > 0)
    valid = counts > 0
    results: list[np.ndarray] = []
    for value in (precision, (precision + before) / 2):
        total = np.bincount(match_query, weights=value, minlength=len(counts))
        results.append(np.divide(total, counts, out=np.full(len(counts), np.nan), where=valid))
    return results[0], results[1]


def _good_ranks(row: np.ndarray, good: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the `good` rows from near to far and their ranks among the rows that are not ignored; ties by index."""
    good = good[np.argsort(row[good], kind="stable")]
    if len(good) > MOST_GOOD_COUNTED:
        keep = np.ones(len(row), bool)
        keep[ignored] = False
        kept = np.flatnonzero(keep)
        position = np.empty(len(row), np.int64)
        position[kept[np.argsort(row[kept], kind="stable")]] = np.arange(len(kept))
        return good, position[good]
    row = row.copy()
    row[ignored] = np.nan  # comparisons with NaN are false: ignored rows never count, infinite distances do
    ranks = np.empty(len(good), np.int64)
    for index, column in enumerate(good):
        distance = row[column]
        ranks[index] = np.count_nonzero(row[:column] <= distance) + np.count_nonzero(row[column + 1 :] < distance)
    return good, ranks


def _cmc(ranks: np.ndarray, weights: np.ndarray, max_rank: int) -> np.ndarray:
    """Return the weighted share [max_rank] of `ranks` that are within the first k, for k = 1 … max_rank."""
    if not len(ranks):
        return np.full(max_rank, np.nan)
    hits = np.bincount(np.minimum(ranks, max_rank), weights=weights, minlength=max_rank + 1)
    return np.cumsum(hits[:max_rank]) / weights.sum()


def _single_shots(
    distances: np.ndarray,
    gallery_pids: np.ndarray,
    match_query: np.ndarray,
    match_gallery: np.ndarray,
    counts: np.ndarray,
    repeats: int,
    seed: int,
) -> np.ndarray:
    """Return the ranks [repeats * valid] of a drawn good row among one drawn row of every other identity."""
    generator = np.random.default_rng(seed)
    persons = np.flatnonzero(gallery_pids > 0)
    distractors = np.flatnonzero(gallery_pids == matching.DISTRACTOR)
    begins = np.cumsum(counts) - counts
    results: list[int] = []
    for _ in range(repeats):
        shuffled = generator.permutation(persons)
        _, first = np.unique(gallery_pids[shuffled], return_index=True)
        drawn = np.sort(np.concatenate([shuffled[first], distractors]))
        for query in np.flatnonzero(counts):
            good = match_gallery[begins[query] + generator.integers(counts[query])]
            others = drawn[gallery_pids[drawn] != gallery_pids[good]]
            distance, row = distances[query, good], distances[query, others]
            nearer = (row < distance) | ((row == distance) & (others < good))
            results.append(int(np.count_nonzero(nearer)))
    return np.array(results, np.int64)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
