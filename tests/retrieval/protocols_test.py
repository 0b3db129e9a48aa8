import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval import protocols

# Person 1 in cameras 1, 2, 3 and twice in 2; person 2 in camera 1; a distractor; junk. Queries: one per person and camera.
GALLERY_IDS = ["a", "b", "c", "d", "e", "distractor", "junk"]
GALLERY_PIDS = [1, 1, 1, 1, 2, 0, -1]
GALLERY_CAMIDS = [1, 2, 2, 3, 1, 2, 3]
QUERY_ROWS = [0, 1, 3, 4]


def tables():
    query = ([values[row] for row in QUERY_ROWS] for values in (GALLERY_IDS, GALLERY_PIDS, GALLERY_CAMIDS))
    return *query, GALLERY_IDS, GALLERY_PIDS, GALLERY_CAMIDS


def test_the_official_mars_gallery_keeps_the_queries_and_drops_junk():
    query, gallery = protocols.get("mars").select(*tables())
    np.testing.assert_array_equal(query, [0, 1, 2, 3])
    np.testing.assert_array_equal(gallery, [0, 1, 2, 3, 4, 5])


def test_the_query_free_mars_gallery_drops_both():
    query, gallery = protocols.get("mars_query_free").select(*tables())
    np.testing.assert_array_equal(query, [0, 1, 2, 3])
    np.testing.assert_array_equal(gallery, [2, 5])


def test_dropping_junk_equals_ignoring_it():
    _query_ids, query_pids, query_camids, _, pids, camids = (np.array(values) for values in tables())
    distances = np.random.default_rng(0).normal(size=(4, 7))
    _, rows = protocols.get("mars").select(*tables())
    with_junk = retrieval.rank(distances, query_pids, pids, query_camids, camids)
    without = retrieval.rank(distances[:, rows], query_pids, pids[rows], query_camids, camids[rows])
    np.testing.assert_array_equal(with_junk.average_precision, without.average_precision)
    assert with_junk.num_gallery == without.num_gallery == 6
    assert without.num_valid_queries == 3


def test_official_mars_wants_every_query_in_the_gallery():
    query_ids, *rest = tables()
    with pytest.raises(InputError, match="1 of 4 query tracklets are not in the gallery, the first is 'z'"):
        protocols.get("mars").select([*query_ids[:3], "z"], *rest)


@pytest.mark.parametrize("name", ["walkers", "folder", "duke_video"])
def test_other_sets_are_taken_as_they_are_without_junk(name):
    query, gallery = protocols.get(name).select(*tables())
    np.testing.assert_array_equal(query, [0, 1, 2, 3])
    np.testing.assert_array_equal(gallery, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("name", ["ilids_vid", "prid2011"])
def test_two_camera_sets_have_a_camera_for_each_side(name):
    protocol = protocols.get(name)
    assert protocol.num_splits == 10
    query, gallery = protocol.select(["a", "b"], [1, 2], [1, 1], ["c", "d"], [1, 2], [2, 2])
    np.testing.assert_array_equal(query, [0, 1])
    np.testing.assert_array_equal(gallery, [0, 1])
    with pytest.raises(InputError, match="camera 1 occurs in the query and in the gallery"):
        protocol.select(["a", "b"], [1, 2], [1, 1], ["c", "d"], [1, 2], [2, 1])


def test_a_gallery_of_queries_leaves_nothing_to_search():
    queries = (["a", "b"], [1, 1], [1, 2])
    with pytest.raises(InputError, match="mars_query_free: nothing is left of the gallery; its 3 tracklets"):
        protocols.get("mars_query_free").select(*queries, ["a", "b", "junk"], [1, 1, -1], [1, 2, 3])
    nobody = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="mars: there is no query"):
        protocols.get("mars").select([], nobody, nobody, ["a"], [1], [1])


def test_a_tracklet_listed_twice_is_an_input_error():
    query_ids, query_pids, query_camids, gallery_ids, gallery_pids, gallery_camids = tables()
    with pytest.raises(InputError, match="tracklet 'a' occurs twice in the gallery"):
        protocols.get("folder").select(
            query_ids, query_pids, query_camids, ["a", *gallery_ids[:1], *gallery_ids[2:]], gallery_pids, gallery_camids
        )


def test_lengths_that_do_not_fit_are_input_errors():
    query_ids, query_pids, query_camids, *gallery = tables()
    with pytest.raises(InputError, match="query_camids must have one entry for each of 4 rows"):
        protocols.get("mars").select(query_ids, query_pids, query_camids[:3], *gallery)


def test_names():
    assert protocols.names() == ("mars", "mars_query_free", "ilids_vid", "prid2011", "duke_video", "walkers", "folder")
    with pytest.raises(InputError, match="did you mean 'mars_query_free'"):
        protocols.get("mars_queryfree")
    with pytest.raises(InputError, match="known are"):
        protocols.get("xyz")


def test_each_distinct_tracklet_is_embedded_once():
    query, gallery = [b"x", "b"], ["a", "b", "c", "x"]
    rows, query_rows, gallery_rows = protocols.distinct_tracklets(query, gallery)
    np.testing.assert_array_equal(rows, [0, 1, 2, 4])
    everything = np.array(["x", "b", *gallery])
    np.testing.assert_array_equal(everything[rows][query_rows], ["x", "b"])
    np.testing.assert_array_equal(everything[rows][gallery_rows], gallery)


def test_query_index_for_reranking():
    np.testing.assert_array_equal(protocols.query_index(["c", "a"], ["a", "b", "c"]), [2, 0])
    assert protocols.query_index(["x"], ["a"]) is None
    with pytest.raises(InputError, match="1 of 2 query tracklets are not in the gallery"):
        protocols.query_index(["a", "x"], ["a", "b"])
