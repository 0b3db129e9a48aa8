"""A system's own similarity of tracklets over all pairs, in jitted blocks over the devices, or over a shortlist."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from vreid_jax.config.run import Evaluation
from vreid_jax.errors import InputError
from vreid_jax.evaluation.distances import Distances
from vreid_jax.evaluation.metric import LEARNED
from vreid_jax.evaluation.test_set import TestSet, ranked
from vreid_jax.runtime.mesh import ensure_replicated

PAIRS_AT_ONCE = 8192  # pairs of tracklets in a block on each device
FAR = 2.0  # tracklets that are not on the shortlist are farther than this
FEWEST = 8  # tracklets that are compared with a row at once where the shortlist is exact
ROUNDING = 1e-5  # by which a computed similarity may pass its bound


class PairDistances(Distances):
    """`distances(query_rows, gallery_rows)` [Q, G] = 1 - similarity, over a table of clip features [N, M, D].

    A row is computed once, against all N tracklets, when it is first asked for; all rows together are N² floats (593 MB
    for 12,180 tracklets). Beside the table (399 MB for 12,180 x 8 x 1,024) and these rows a block is in memory:
    `pairs_at_once` pairs a device, and what the similarity keeps for each (some 10 D floats: 335 MB for D = 1,024).

    With a `shortlist` of k the similarity is computed for the k nearest tracklets of each row by mean feature alone (a
    row is its own nearest one); all others follow behind them, in that order, at distances above `FAR`. With a `bound`,
    which no similarity passes, the first k of each row are those of the similarity itself: a row's tracklets are compared
    from the largest bound down, at least `FEWEST` at a time, until the next one is below the k-th largest similarity. The
    k are counted over what `ranked` says is ranked, so that the row itself and others that a protocol ignores take no
    place. All that were compared stand in front.
    """

    squared = True  # 1 - cosine is half a squared Euclidean distance: what re-ranking asks
    metric = "similarity"

    def __init__(
        self,
        similarity: Callable,
        variables,
        clips: np.ndarray,
        mesh: Mesh,
        *,
        shortlist: int = 0,
        bound: Callable | None = None,
        ranked: Callable[[np.ndarray], np.ndarray] | None = None,
        pairs_at_once: int = PAIRS_AT_ONCE,
        progress: bool = False,
        name: str = "similarity",
    ):
        """`similarity(variables, query [Q, M, D], gallery [G, M, D])` is called under jit; `mesh` has an axis `data`.

        `bound` has the same arguments, and for each pair a value that its similarity does not pass. `ranked(rows [R])` is
        [P, R, N] bool: what each of P protocols ranks for these rows, by default all. The first k hold for each protocol.
        """
        if shortlist < 0:
            raise InputError(f"shortlist is {shortlist}; it is a number of tracklets, or 0 for all")
        self._clips, self._mesh, self._progress, self._name = clips, mesh, progress, name
        self._shortlist = min(shortlist, len(clips)) if shortlist else 0
        self._ranked = ranked or (lambda rows: np.ones((1, len(rows), len(clips)), bool))
        self._pairs_at_once = pairs_at_once * mesh.size
        self._rows: dict[int, np.ndarray] = {}
        spread, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
        self._spread, self._whole = spread, whole
        self._variables = ensure_replicated(variables, mesh)
        self._block = jax.jit(similarity, in_shardings=(whole, spread, whole), out_shardings=whole)

        def of_own_gallery(variables, query, galleries):
            return jax.vmap(lambda q, g: similarity(variables, q[None], g)[0])(query, galleries)

        self._own_block = jax.jit(of_own_gallery, in_shardings=(whole, spread, spread), out_shardings=whole)
        self._bound = jax.jit(bound, in_shardings=(whole, spread, whole), out_shardings=whole) if bound else None

    def __call__(self, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """Distances [Q, G] float32 of rows of the table."""
        wanted = np.unique([row for row in query.tolist() if row not in self._rows]).astype(int)
        if len(wanted):
            found = self._listed(wanted) if self._shortlist else self._all(wanted)
            self._rows.update(zip(wanted.tolist(), found, strict=True))
        return np.stack([self._rows[row][gallery] for row in query.tolist()])

    @property
    def features(self) -> np.ndarray:
        """One vector a tracklet [N, D], the mean of its clips, as galleries hold it."""
        return self._clips.mean(1)

    def _bar(self, total: int, unit: str = "pair"):
        return tqdm(total=total, desc=self._name, unit=unit, unit_scale=True, disable=not self._progress, leave=False)

    def _listed(self, rows: np.ndarray) -> np.ndarray:
        return self._nearest_only(rows) if self._bound is None else self._exactly_nearest(rows)

    def _all(self, rows: np.ndarray) -> np.ndarray:
        """Every tracklet against these rows, block by block."""
        with self._bar(len(rows) * len(self._clips)) as bar:
            return 1 - self._table(self._block, rows, bar.update)

    def _table(self, block: Callable, rows: np.ndarray, tell: Callable[[int], object]) -> np.ndarray:
        """Return what `block` says of these rows and every tracklet, [R, N]; `tell` hears of each block of pairs."""
        size = len(self._clips)
        across = _block_length(size, max(1, int(self._pairs_at_once**0.5)), 1)
        down = _block_length(len(rows), max(1, self._pairs_at_once // across), self._mesh.size)
        result = np.empty((len(rows), size), np.float32)
        for top in range(0, len(rows), down):
            query = self._put(self._clips[_padded(rows[top : top + down], down)], self._spread)
            for left in range(0, size, across):
                columns = _padded(np.arange(left, min(left + across, size)), across)
                gallery = self._put(self._clips[columns], self._whole)
                part = result[top : top + down, left : left + across]
                part[:] = np.asarray(block(self._variables, query, gallery))[: part.shape[0], : part.shape[1]]
                tell(part.size)
        return result

    def _nearest_only(self, rows: np.ndarray) -> np.ndarray:
        """Each row against its shortlist; the others by mean feature, behind."""
        k = self._shortlist
        down = _block_length(len(rows), max(1, self._pairs_at_once // k), self._mesh.size)
        means = _mean_features(self._clips)
        result = np.empty((len(rows), len(means)), np.float32)
        with self._bar(len(rows) * k) as bar:
            for top in range(0, len(rows), down):
                chosen = _padded(rows[top : top + down], down)
                cheap = 1 - means[chosen] @ means.T
                cheap[np.arange(down), chosen] = -1  # rounding must not keep a row from its own shortlist
                near = np.argpartition(cheap, k - 1, axis=1)[:, :k]
                query, galleries = (self._put(self._clips[index], self._spread) for index in (chosen, near))
                learned = 1 - np.asarray(self._own_block(self._variables, query, galleries))
                cheap += np.maximum(FAR, learned.max(1, keepdims=True)) + 2e-6
                np.put_along_axis(cheap, near, learned, axis=1)
                part = result[top : top + down]
                part[:] = cheap[: len(part)]
                bar.update(len(part) * k)
        return result

    def _exactly_nearest(self, rows: np.ndarray) -> np.ndarray:
        """Each row against its most similar tracklets, found by the bounds; the others by mean feature, behind."""
        k, size = self._shortlist, len(self._clips)
        step = min(size, max(k, FEWEST))
        down = _block_length(len(rows), max(1, self._pairs_at_once // step), self._mesh.size)
        means = _mean_features(self._clips)
        result = np.empty((len(rows), size), np.float32)
        with self._bar(len(rows), "row") as bar:
            for top in range(0, len(rows), 4 * down):  # the bounds of so many rows are in memory
                chosen = rows[top : top + 4 * down]
                part = result[top : top + len(chosen)]
                part[:] = self._most_similar(chosen, k, step, down, bar)
                compared = part != -np.inf  # NaN too: the ranking refuses it
                cheap = 1 - means[chosen] @ means.T
                farthest = np.where(compared, 1 - part, FAR).max(1, keepdims=True)
                part[:] = np.where(compared, 1 - part, cheap + np.maximum(FAR, farthest) + 2e-6)
        return result

    def _most_similar(self, rows: np.ndarray, k: int, step: int, down: int, bar) -> np.ndarray:
        """Return the similarities [R, N] of these rows that had to be computed to know the k largest; -inf elsewhere."""
        assert self._bound is not None
        ranked = self._ranked(rows)
        bounds = self._table(self._bound, rows, lambda _: None)
        bounds[np.isnan(bounds)] = np.inf  # bounds nothing
        order = np.argsort(-bounds, axis=1, kind="stable")
        bounds = np.take_along_axis(bounds, order, axis=1) + ROUNDING
        found = np.full(bounds.shape, -np.inf, np.float32)
        position, active = np.zeros(len(rows), int), np.arange(len(rows))
        while len(active):
            now = active[:down]
            places = np.minimum(position[now][:, None] + np.arange(step), bounds.shape[1] - 1)
            columns = np.take_along_axis(order[now], places, axis=1)
            query, galleries = self._clips[_padded(rows[now], down)], self._clips[_padded(columns, down)]
            own = self._own_block(self._variables, self._put(query, self._spread), self._put(galleries, self._spread))
            found[now[:, None], columns] = np.asarray(own)[: len(now)]
            position[now] += step
            counted = np.where(ranked[:, now], found[now], -np.inf)
            kth = -np.partition(-counted, k - 1, axis=2)[:, :, k - 1].max(0)  # of the protocol that needs most
            ahead = bounds[now, np.minimum(position[now], bounds.shape[1] - 1)]
            finished = (position[now] >= bounds.shape[1]) | (ahead < kth)
            bar.update(int(finished.sum()))
            active = np.concatenate([now[~finished], active[down:]])
        return found

    def _put(self, x: np.ndarray, sharding: NamedSharding) -> jax.Array:
        # Every process holds the whole table.
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _mean_features(clips: np.ndarray) -> np.ndarray:
    units = clips / np.maximum(np.linalg.norm(clips, axis=2, keepdims=True), 1e-12)
    means = units.mean(1)
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _block_length(count: int, most: int, multiple: int) -> int:
    """Equal blocks of at most about `most` that cover `count`, a multiple of `multiple`: one compilation serves all."""
    blocks = -(-count // most)
    return -(-count // blocks // multiple) * multiple


def _padded(rows: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([rows, np.repeat(rows[-1:], length - len(rows), axis=0)])


def _bound(module, settings: Evaluation) -> Callable | None:
    """Return the bound of the module's similarity where the shortlist is to be exact."""
    if not (settings.shortlist and settings.shortlist_exact):
        return None
    if not hasattr(module, "similarity_bound"):
        raise InputError("evaluation.shortlist_exact is for a system whose module has a similarity_bound")
    return _similarity(module, settings, "similarity_bound")


def _similarity(module, settings: Evaluation, method) -> Callable:
    def similarity(variables, query, gallery):
        return module.apply(variables, query, gallery, method=method, **settings.similarity)

    return similarity


def check_similarity(module, variables, shape: tuple[int, int, int], settings: Evaluation, method) -> None:
    """Raise `InputError` where clips that a stream keeps apart, tracklets of `shape` [1, M, D], cannot be compared."""
    if method is None or len(settings.streams) > 1:
        raise InputError(
            "average is False in an evaluation stream, which only the single stream of a system may have that compares "
            "sets of clips"
        )
    if settings.metric in LEARNED or settings.selections:
        raise InputError(
            f"this system compares tracklets by evaluation.similarity: evaluation.metric = {settings.metric!r} and "
            "evaluation.selections are for streams with average = True"
        )
    tracklets = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        jax.eval_shape(_similarity(module, settings, method), variables, tracklets, tracklets)
        if bound := _bound(module, settings):
            jax.eval_shape(bound, variables, tracklets, tracklets)
    except TypeError as error:
        raise InputError(f"evaluation.similarity does not fit this model: {error}") from error


def pair_distances(
    module,
    variables,
    clips: np.ndarray,
    settings: Evaluation,
    mesh: Mesh,
    method,
    name: str,
    test: TestSet,
    protocols: Sequence[str],
    progress: bool = False,
) -> PairDistances:
    """Return the distances of a system that is registered with a `similarity`, a method of its module.

    `clips` [N, M, D] are the clips' features of `test.tracklets`; `settings.similarity` are the method's keyword
    arguments. The first of an exact shortlist are those that each of `protocols` ranks.
    """
    return PairDistances(
        _similarity(module, settings, method),
        variables,
        clips,
        mesh,
        shortlist=settings.shortlist,
        bound=_bound(module, settings),
        ranked=ranked(test, protocols),
        progress=progress and jax.process_index() == 0,
        name=name,
    )
