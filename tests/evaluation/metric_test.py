import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.evaluation.distances import FeatureDistances
from vreid_jax.evaluation.metric import LEARNED, check_metric, fit_metric
from vreid_jax.retrieval.distances import METRICS

PIDS = np.repeat(np.arange(1, 9), 4)
CAMIDS = np.tile([1, 2, 2, 3], 8)


def example():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(8, 6))
    return (centres[PIDS - 1] + 0.3 * generator.normal(size=(32, 6))).astype(np.float32)


@pytest.mark.parametrize("metric", [*METRICS, *LEARNED])
def test_every_metric_passes_on_a_split_that_can_teach_it(metric):
    check_metric(metric, PIDS, CAMIDS)


@pytest.mark.parametrize(("metric", "kind"), [("xqda", retrieval.XQDA), ("kissme", retrieval.KISSME)])
def test_the_first_camera_of_each_person_is_one_view_and_the_others_the_other(metric, kind):
    features = example()
    first = CAMIDS == 1
    expected = kind().fit(features[first], features[~first], PIDS[first], PIDS[~first])
    fitted = fit_metric(metric, features, PIDS, CAMIDS)
    assert type(fitted) is kind
    np.testing.assert_array_equal(fitted.distance(features, features), expected.distance(features, features))


@pytest.mark.parametrize("metric", ["xqda", "kissme"])
def test_a_split_without_pairs_is_one_sentence(metric):
    with pytest.raises(
        InputError, match=f"evaluation.metric is '{metric}', which needs a training split of at least two people"
    ):
        check_metric(metric, PIDS, np.ones(32, int))
    with pytest.raises(InputError, match="one of them seen by two cameras; use one of euclidean"):
        check_metric(metric, np.ones(32, int), CAMIDS)
    check_metric("euclidean", np.ones(32, int), np.ones(32, int))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("metric", [*METRICS, *LEARNED])
def test_distances_of_every_metric_can_be_re_ranked(metric, inside):
    features, rows = example(), np.arange(32)
    fitted = fit_metric(metric, features, PIDS, CAMIDS) if metric in LEARNED else metric
    query, gallery = (rows[::4], rows) if inside else (rows[:8], rows[8:])
    distances = FeatureDistances(features, fitted).rerank(query, gallery, query if inside else None)
    assert distances.shape == (len(query), len(gallery))
    assert np.isfinite(distances).all()
    if inside:
        np.testing.assert_array_equal(distances.argmin(1), query)  # every query is nearest to itself


def test_unit_vectors_are_re_ranked_alike_by_the_cosine_and_the_euclidean_distance():
    features, rows = example(), np.arange(32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = [FeatureDistances(units, metric).rerank(rows[:8], rows[8:], None) for metric in METRICS]
    for distances in alike[1:]:
        np.testing.assert_allclose(distances, alike[0], atol=1e-5)
