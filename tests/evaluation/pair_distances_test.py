import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import data, evaluation
from vreid_jax.errors import InputError
from vreid_jax.evaluation.pair_distances import PairDistances
from vreid_jax.runtime.mesh import make_mesh


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).standard_normal((23, 3, 5)).astype(np.float32)


def similarity(variables, query, gallery):
    """Largest of weighted cosines: neither symmetric nor linear."""
    weights = jnp.arange(1.0, 4.0) * variables["scale"]
    units = [x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) for x in (query, gallery)]
    return (jnp.einsum("qmd,gnd->qgmn", *units) * weights.reshape(1, 1, 3, 1)).max((2, 3)) / 3


def expected(clips):
    units = clips / np.linalg.norm(clips, axis=-1, keepdims=True)
    return 1 - (np.einsum("qmd,gnd->qgmn", units, units) * np.arange(1, 4)[:, None]).max((2, 3)) / 3


def make(clips, **options):
    return PairDistances(similarity, {"scale": jnp.ones(())}, clips, make_mesh(), **options)


@pytest.mark.parametrize("pairs_at_once", [1, 9, 1000])
def test_blocks_over_four_devices_equal_one_table(clips, pairs_at_once):
    assert len(jax.devices()) == 4
    distances = make(clips, pairs_at_once=pairs_at_once)
    query, gallery = np.array([3, 0, 22, 3]), np.array([1, 8, 3, 22, 22])
    np.testing.assert_allclose(distances(query, gallery), expected(clips)[np.ix_(query, gallery)], atol=1e-5)
    everything = np.arange(23)
    np.testing.assert_allclose(distances(everything, everything), expected(clips), atol=1e-5)


def test_a_row_is_computed_once(clips):
    distances = make(clips)
    distances(np.array([2, 5]), np.array([1]))
    distances._all = None
    assert distances(np.array([5, 2, 5]), np.array([4, 2])).shape == (3, 2)


@pytest.mark.parametrize("pairs_at_once", [1, 40])
def test_the_shortlist_is_exact_in_front_and_by_mean_feature_behind(clips, pairs_at_once):
    distances = make(clips, shortlist=6, pairs_at_once=pairs_at_once)
    rows = np.arange(23)
    found = distances(rows, rows)
    means = (clips / np.linalg.norm(clips, axis=-1, keepdims=True)).mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cheap = 1 - means @ means.T
    for row in rows:
        order = np.argsort(cheap[row])
        near, rest = order[:6], order[6:]
        assert row in near
        np.testing.assert_allclose(found[row, near], expected(clips)[row, near], atol=1e-5)
        assert found[row, rest].min() > max(2.0, found[row, near].max())
        np.testing.assert_array_equal(np.argsort(found[row])[6:], rest)


def largest_cosine(variables, query, gallery):
    """No weighted mean of cosines passes it."""
    units = [x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) for x in (query, gallery)]
    return jnp.einsum("qmd,gnd->qgmn", *units).max((2, 3))


def weighted_mean(variables, query, gallery):
    """A mean of cosines with positive weights that depend on the pair."""
    units = [x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) for x in (query, gallery)]
    cosines = jnp.einsum("qmd,gnd->qgmn", *units)
    weights = jnp.exp(variables["scale"] * jnp.sin(9 * cosines))
    return (weights * cosines).sum((2, 3)) / weights.sum((2, 3))


@pytest.mark.parametrize(("shortlist", "pairs_at_once"), [(1, 40), (5, 7), (12, 1000), (60, 100)])
def test_an_exact_shortlist_is_the_beginning_of_the_whole_list(shortlist, pairs_at_once):
    # Tracklets of twenty people, whose clips are alike.
    rng = np.random.default_rng(0)
    people = np.repeat(rng.standard_normal((20, 1, 16)), 3, axis=0)
    clips = (people + 0.3 * rng.standard_normal((60, 3, 16))).astype(np.float32)
    rows, variables = np.arange(60), {"scale": jnp.ones(())}
    whole = PairDistances(weighted_mean, variables, clips, make_mesh())(rows, rows)
    distances = PairDistances(
        weighted_mean,
        variables,
        clips,
        make_mesh(),
        shortlist=shortlist,
        bound=largest_cosine,
        pairs_at_once=pairs_at_once,
    )
    found = distances(rows, rows)
    compared = found < 2
    for row in rows:
        order = np.argsort(whole[row])[:shortlist]
        np.testing.assert_array_equal(np.argsort(found[row])[:shortlist], order)
        np.testing.assert_allclose(found[row, order], whole[row, order], atol=1e-5)
    np.testing.assert_allclose(found[compared], whole[compared], atol=1e-5)
    assert compared.mean() < (0.3 if shortlist <= 5 else 1.01)  # most pairs were never compared


def people_in_two_cameras():
    """Clips of 20 people, four tracklets of each in one camera, nearly alike, and two in another; and their test set."""
    rng = np.random.default_rng(1)
    pids, camids = np.repeat(np.arange(1, 21), 6), np.tile([1, 1, 1, 1, 2, 2], 20)
    seen = rng.standard_normal((20, 2, 1, 16)) + rng.standard_normal((20, 1, 1, 16))
    clips = seen[pids - 1, camids - 1] + 0.1 * rng.standard_normal((120, 3, 16))
    clips[:, 0] += rng.standard_normal((120, 16))  # of which the bound knows less
    queries = np.flatnonzero(np.isin(np.arange(120) % 6, (0, 4)))
    split = functools.partial(labels_only, pids=pids, camids=camids)
    test = evaluation.make_test_set(split("query", queries), split("gallery", np.arange(120)))
    order = test.tracklets.tracklet_ids.astype(int)
    return clips[order].astype(np.float32), test


def labels_only(name, rows, pids, camids):
    """A split without frames."""
    source = object.__new__(data.TrackletSource)
    ids = np.array([f"{row:03}" for row in rows])
    vars(source).update(
        split=name,
        _records=ids,
        tracklet_ids=ids,
        pids=pids[rows],
        camids=camids[rows],
        num_frames=np.full(len(rows), 3),
    )
    return source


@pytest.mark.parametrize("shortlist", [1, 3, 10])
def test_an_exact_shortlist_gives_the_first_ranks_of_every_protocol_and_their_tracklets(shortlist, monkeypatch):
    """What a protocol ignores, the query itself among it, takes no place of the k; nor what its gallery lacks."""
    monkeypatch.setattr("vreid_jax.evaluation.pair_distances.FEWEST", 1)
    clips, test = people_in_two_cameras()
    protocols = ("mars", "mars_query_free")
    ranked = evaluation.ranked(test, protocols)
    variables = {"scale": jnp.float32(3.0)}
    whole = PairDistances(weighted_mean, variables, clips, make_mesh())
    exact = PairDistances(
        weighted_mean, variables, clips, make_mesh(), shortlist=shortlist, bound=largest_cosine, ranked=ranked
    )
    expected, found = (evaluation.score(test, distances, protocols) for distances in (whole, exact))
    for protocol in protocols:
        assert 0 < expected[protocol]["rank1"] < 1
        assert found[protocol]["cmc"][:shortlist] == expected[protocol]["cmc"][:shortlist]
    rows = test.query_rows
    tables = [distances(rows, np.arange(120)) for distances in (whole, exact)]
    for kept in ranked(rows):
        first = [np.argsort(np.where(kept, table, np.inf), axis=1)[:, :shortlist] for table in tables]
        np.testing.assert_array_equal(*first)
    assert (tables[1] < 2).mean() < 0.5


def test_the_ranked_tracklets_of_a_protocol_are_its_gallery_without_what_it_ignores():
    _, test = people_in_two_cameras()
    number = test.tracklets.tracklet_ids.astype(int)
    rows = np.array([number.tolist().index(row) for row in (6, 9, 10)])
    given, query_free = evaluation.ranked(test, ("mars", "mars_query_free"))(rows)
    for place, own in enumerate(((6, 7, 8, 9), (6, 7, 8, 9), (10, 11))):
        np.testing.assert_array_equal(given[place], ~np.isin(number, own))
        np.testing.assert_array_equal(query_free[place], ~np.isin(number, own) & ~np.isin(number % 6, (0, 4)))


def nan_if_alike(of):
    """Overflow where two tracklets are much alike, as float16 does."""

    def with_nan(variables, query, gallery):
        found = of(variables, query, gallery)
        return jnp.where(largest_cosine(variables, query, gallery) > 0.99, jnp.nan, found)

    return with_nan


@pytest.mark.parametrize("bound", [None, largest_cosine, nan_if_alike(largest_cosine)])
@pytest.mark.parametrize("shortlist", [0, 4])
def test_nan_similarities_are_refused(clips, shortlist, bound):
    distances = PairDistances(
        nan_if_alike(weighted_mean), {"scale": jnp.ones(())}, clips, make_mesh(), shortlist=shortlist, bound=bound
    )
    rows, labels = np.arange(23), (np.arange(23) // 2,) * 2 + (np.arange(23) % 2,) * 2
    with pytest.raises(InputError, match="distances has NaN values"):
        distances.rank(rows, rows, *labels)


def test_a_shortlist_of_all_is_exact(clips):
    rows = np.arange(23)
    np.testing.assert_allclose(make(clips, shortlist=100)(rows, rows), expected(clips), atol=1e-5)


def test_a_negative_shortlist_is_an_error(clips):
    with pytest.raises(InputError, match="shortlist is -1; it is a number of tracklets, or 0 for all"):
        make(clips, shortlist=-1)
