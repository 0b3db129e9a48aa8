"""Choose ranked lists for a page: the queries, what was found for them, and what of it is right."""

import dataclasses

import numpy as np

from vreid_jax import evaluation, retrieval


@dataclasses.dataclass(frozen=True)
class Found:
    """A gallery tracklet in a ranked list.

    Attributes:
      row: its row among the test tracklets.
      distance: from the query.
      right: whether it is the query's person.
    """

    row: int
    distance: float
    right: bool


@dataclasses.dataclass(frozen=True)
class RankedList:
    """A query with its nearest gallery tracklets, without those that the protocol ignores.

    Attributes:
      row: the query's row among the test tracklets.
      average_precision: the standard variant, NaN where the gallery holds no match.
      first_match: 1-based rank of the first match, 0 where there is none.
      found: the nearest tracklets, in order of distance.
      missed: the first match, where it ranks below the tracklets in `found`.
    """

    row: int
    average_precision: float
    first_match: int
    found: list[Found]
    missed: Found | None


@dataclasses.dataclass(frozen=True)
class Lists:
    """The ranking under a protocol and the lists chosen from it.

    Attributes:
      ranking: the ranking of every query.
      cameras: scores between every two cameras.
      worst: the worst failures, worst first.
      sample: further queries, spread evenly.
    """

    ranking: retrieval.Ranking
    cameras: retrieval.CameraConfusion
    worst: list[RankedList]
    sample: list[RankedList]


def ranked_lists(
    test: evaluation.TestSet, distances, protocol: str, *, num_queries: int = 24, depth: int = 10
) -> Lists:
    """Rank the gallery for every query and choose lists: up to half the worst failures, the rest spread evenly.

    A failure is a query whose nearest tracklet is wrong; the lower its first match ranks, the worse it is.

    Args:
      test: the test set.
      distances: function of query rows and gallery rows, as `stored_distances` returns it.
      protocol: name of the protocol to rank under.
      num_queries: how many lists to choose.
      depth: how many tracklets a list holds.
    """
    query, gallery = evaluation.select(test, protocol)
    table = evaluation.distance_table(test, distances, query, gallery)
    pids = test.query.pids[query], test.gallery.pids[gallery]
    camids = test.query.camids[query], test.gallery.camids[gallery]
    ranking = retrieval.rank(table, *pids, *camids)
    first = ranking.first_match
    failed = np.flatnonzero(first > 0)
    worst = failed[np.lexsort((ranking.average_precision[failed], -first[failed]))][: num_queries // 2]
    others = np.setdiff1d(np.arange(len(query)), worst)
    wanted = min(len(others), num_queries - len(worst))
    sample = others[np.linspace(0, len(others) - 1, wanted).round().astype(int)] if wanted else others[:0]

    def make(number: int) -> RankedList:
        same = pids[1] == pids[0][number]
        ignored = (same & (camids[1] == camids[0][number])) | (pids[1] == -1)
        good = same & ~ignored & (pids[0][number] > 0)
        order = np.argsort(table[number], kind="stable")
        order = order[~ignored[order]]
        items = [
            Found(int(test.gallery_rows[gallery[g]]), float(table[number, g]), bool(good[g])) for g in order[:depth]
        ]
        behind = [g for g in order[depth:] if good[g]] if not any(item.right for item in items) else []
        missed = (
            Found(int(test.gallery_rows[gallery[behind[0]]]), float(table[number, behind[0]]), True) if behind else None
        )
        return RankedList(
            int(test.query_rows[query[number]]),
            float(ranking.average_precision[number]),
            int(first[number]) + 1,
            items,
            missed,
        )

    return Lists(
        ranking,
        retrieval.camera_confusion(ranking, *camids),
        [make(number) for number in worst.tolist()],
        [make(number) for number in sample.tolist()],
    )
