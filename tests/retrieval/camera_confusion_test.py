import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError


def test_every_cell_equals_ranking_with_the_other_cameras_matches_taken_out():
    generator = np.random.default_rng(0)
    queries, gallery = 30, 90
    distances = generator.normal(size=(queries, gallery))
    query_pids, gallery_pids = generator.integers(1, 6, queries), generator.integers(-1, 6, gallery)
    query_camids, gallery_camids = generator.integers(1, 4, queries), generator.integers(1, 5, gallery)
    ranking = retrieval.rank(distances, query_pids, gallery_pids, query_camids, gallery_camids)
    confusion = retrieval.camera_confusion(ranking, query_camids, gallery_camids)
    np.testing.assert_array_equal(confusion.query_cameras, [1, 2, 3])
    np.testing.assert_array_equal(confusion.gallery_cameras, [1, 2, 3, 4])
    for i, query_camera in enumerate(confusion.query_cameras):
        for j, gallery_camera in enumerate(confusion.gallery_cameras):
            scores = []
            for q in np.flatnonzero(query_camids == query_camera):
                keep = (gallery_pids != query_pids[q]) | (gallery_camids == gallery_camera)
                single = retrieval.rank(
                    distances[[q]][:, keep],
                    query_pids[[q]],
                    gallery_pids[keep],
                    query_camids[[q]],
                    gallery_camids[keep],
                )
                if single.num_valid_queries:
                    scores.append([single.rank(1), single.mAP, single.mAP_trapezoid])
            expected = np.mean(scores, axis=0) if scores else np.full(3, np.nan)
            got = [confusion.rank1[i, j], confusion.mAP[i, j], confusion.mAP_trapezoid[i, j]]
            np.testing.assert_allclose(got, expected, rtol=1e-12)
            assert confusion.num_queries[i, j] == len(scores)
    assert np.isnan(np.diagonal(confusion.rank1)).all()


def test_lengths_that_do_not_fit_are_input_errors():
    ranking = retrieval.rank(np.zeros((1, 1)), [1], [1], [1], [2])
    with pytest.raises(InputError, match="query_camids"):
        retrieval.camera_confusion(ranking, [1, 2], [2])


def test_without_a_match_every_cell_is_nan():
    ranking = retrieval.rank(np.zeros((1, 2)), [1], [2, 3], [1], [2, 2])
    confusion = retrieval.camera_confusion(ranking, [1], [2, 2])
    np.testing.assert_array_equal(confusion.mAP, [[np.nan]])
    np.testing.assert_array_equal(confusion.num_queries, [[0]])
