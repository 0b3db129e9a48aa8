from pathlib import Path

import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.retrieval.pair_covariance import pair_covariances

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval.npz"
METRICS = [retrieval.XQDA, retrieval.KISSME]


def example(dimensions=10, persons=20, seed=0):
    """Two tracklets of each person in each view; the second half of the dimensions is the camera's, not the person's."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(persons, dimensions))
    centres[:, dimensions // 2 :] = 0
    noise = np.where(np.arange(dimensions) < dimensions // 2, 0.2, 3.0)
    pids = np.repeat(np.arange(1, persons + 1), 2)
    views = [centres[pids - 1] + noise * generator.normal(size=(len(pids), dimensions)) for _ in range(2)]
    return *views, pids, pids


def pairs_one_by_one(x, z, x_pids, z_pids):
    intra, extra = [], []
    for i in range(len(x)):
        for j in range(len(z)):
            difference = x[i] - z[j]
            (intra if x_pids[i] == z_pids[j] else extra).append(np.outer(difference, difference))
    return np.mean(intra, axis=0), np.mean(extra, axis=0)


def golden_training():
    golden = np.load(GOLDEN)
    features, pids, camids = (golden[f"train_{name}"] for name in ("features", "pids", "camids"))
    first, second = camids == 1, camids == 2
    return golden, (features[first], features[second], pids[first], pids[second])


def test_covariances_equal_the_means_over_pairs():
    generator = np.random.default_rng(0)
    x, z = generator.normal(size=(9, 4)), generator.normal(size=(7, 4))
    x_pids, z_pids = generator.integers(0, 4, 9), generator.integers(1, 5, 7)
    for got, expected in zip(
        pair_covariances(x, z, x_pids, z_pids), pairs_one_by_one(x, z, x_pids, z_pids), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_xqda_has_the_released_code_s_distances():
    golden, training = golden_training()
    metric = retrieval.XQDA().fit(*training)
    assert metric.projection.shape == (48, golden["xqda_dims"])
    features = golden["features"]
    distance = metric.distance(features[golden["query_index"]], features)
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, golden["xqda_distance"], rtol=1e-6, atol=1e-9)


def test_xqda_has_the_released_code_s_subspace():
    golden, training = golden_training()
    w = retrieval.XQDA().fit(*training).projection
    intra, extra = pair_covariances(*(values.astype(np.float64) for values in training[:2]), *training[2:])
    regular = w.T @ (intra + 1e-3 * np.eye(48)) @ w
    # The sign of a singular vector is free, the size of every entry is not.
    np.testing.assert_allclose(abs(regular), abs(golden["xqda_in_cov"]), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(abs(w.T @ extra @ w), abs(golden["xqda_ex_cov"]), rtol=1e-6, atol=1e-12)


def test_the_qr_shortcut_changes_nothing():
    x, z, x_pids, z_pids = example(dimensions=30, persons=4)
    wide = np.random.default_rng(1).normal(size=(30, 30))
    x, z = x @ wide, z @ wide  # 16 samples in 30 dimensions
    metric = retrieval.XQDA().fit(x, z, x_pids, z_pids)
    intra, extra = pairs_one_by_one(x, z, x_pids, z_pids)
    intra += 1e-3 * np.eye(30)
    left, values, _ = np.linalg.svd(np.linalg.solve(intra, extra))
    w = left[:, values > 1]
    m = np.linalg.inv(w.T @ intra @ w) - np.linalg.inv(w.T @ extra @ w)
    difference = (x[:, None] - z[None]) @ w
    expected = np.einsum("abi,ij,abj->ab", difference, m, difference)
    np.testing.assert_allclose(metric.distance(x, z), expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


def test_xqda_can_be_limited_to_some_dimensions():
    _, training = golden_training()
    assert retrieval.XQDA(max_dimensions=5).fit(*training).projection.shape == (48, 5)
    np.testing.assert_array_equal(
        retrieval.XQDA(max_dimensions=5).fit(*training).projection, retrieval.XQDA().fit(*training).projection[:, :5]
    )


def test_kissme_is_the_difference_of_inverse_covariances():
    # One dimension: same-person differences ±1, others ±3 and ±5 … by hand Σ_S = 1, Σ_D = (9 + 25) / 2 = 17.
    x, z = np.array([[0.0], [4.0]]), np.array([[1.0], [5.0]])
    metric = retrieval.KISSME(regularizer=0.0).fit(x, z, [1, 2], [1, 2])
    np.testing.assert_allclose(metric.distance([[0.0]], [[2.0]]), [[4 * (1 - 1 / 17)]], rtol=1e-6)


def test_kissme_equals_numpy_and_is_positive_semi_definite():
    x, z, x_pids, z_pids = example()
    metric = retrieval.KISSME(dimensions=6, regularizer=0.0).fit(x, z, x_pids, z_pids)
    both = np.concatenate([x, z])
    _, vectors = np.linalg.eigh(np.cov(both.T))
    pca = vectors[:, ::-1][:, :6]
    same, different = pairs_one_by_one(x @ pca, z @ pca, x_pids, z_pids)
    values, vectors = np.linalg.eigh(np.linalg.inv(same) - np.linalg.inv(different))
    assert values.min() < 0  # the projection to the cone has something to do
    m = vectors @ np.diag(np.maximum(values, 0)) @ vectors.T
    difference = (x[:, None] - z[None]) @ pca
    expected = np.einsum("abi,ij,abj->ab", difference, m, difference)
    np.testing.assert_allclose(metric.distance(x, z), expected, rtol=1e-4, atol=1e-5)
    assert metric.distance(x, x).min() > -1e-5


@pytest.mark.parametrize("metric", METRICS)
def test_a_learned_metric_beats_the_plain_distance_on_new_persons(metric):
    learned = metric().fit(*example(seed=0, persons=60))
    query, gallery, pids, _ = example(seed=1)
    cameras = np.ones(len(pids), int), np.full(len(pids), 2)
    plain = retrieval.rank(retrieval.pairwise_distance(query, gallery), pids, pids, *cameras)
    better = retrieval.rank(learned.distance(query, gallery), pids, pids, *cameras)
    assert better.mAP > plain.mAP + 0.3


@pytest.mark.parametrize("metric", METRICS)
def test_save_and_load_give_the_same_distances(metric, tmp_path):
    x, z, x_pids, z_pids = example()
    fitted = metric().fit(x, z, x_pids, z_pids)
    fitted.save(tmp_path / "metric.npz")
    loaded = metric.load(tmp_path / "metric.npz")
    np.testing.assert_array_equal(loaded.distance(x, z), fitted.distance(x, z))
    other = METRICS[1 - METRICS.index(metric)]
    with pytest.raises(InputError, match=f"holds {metric.__name__}, not {other.__name__}"):
        other.load(tmp_path / "metric.npz")
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    np.savez(tmp_path / "half.npz", kind=metric.__name__)
    for name in ("nowhere.npz", "garbage.npz", "half.npz"):
        with pytest.raises(InputError, match=f"{name} cannot be read as a saved {metric.__name__}"):
            metric.load(tmp_path / name)


@pytest.mark.parametrize("metric", METRICS)
def test_unusable_input_is_one_clear_sentence(metric):
    x, z, x_pids, z_pids = example()
    with pytest.raises(InputError, match="has not been fitted"):
        metric().distance(x, z)
    with pytest.raises(InputError, match="no identity is"):
        metric().fit(x, z, x_pids, z_pids + 1000)
    with pytest.raises(InputError, match="at least two persons"):
        metric().fit(x, z, np.ones(40, int), np.ones(40, int))
    with pytest.raises(InputError, match="probe_pids must have one entry"):
        metric().fit(x, z, x_pids, z_pids[1:])
    with pytest.raises(InputError, match="gallery_view has NaN"):
        metric().fit(x * np.nan, z, x_pids, z_pids)
    with pytest.raises(InputError, match="fitted on 10"):
        metric().fit(x, z, x_pids, z_pids).distance(x[:, :4], z[:, :4])


def test_impossible_settings_are_input_errors():
    with pytest.raises(InputError, match="regularizer"):
        retrieval.XQDA(regularizer=0)
    with pytest.raises(InputError, match="max_dimensions"):
        retrieval.XQDA(max_dimensions=0)
    with pytest.raises(InputError, match="dimensions"):
        retrieval.KISSME(dimensions=0)
    with pytest.raises(InputError, match="dimensions is 11, but the training features span 10"):
        retrieval.KISSME(dimensions=11).fit(*example())
    ones = np.ones((4, 3))
    with pytest.raises(InputError, match="all training features are equal"):
        retrieval.KISSME().fit(ones, ones, [1, 1, 2, 2], [1, 1, 2, 2])
    with pytest.raises(InputError, match="of each person are all equal"):
        retrieval.KISSME().fit(np.eye(4), np.eye(4), [1, 2, 3, 4], [1, 2, 3, 4])
    with pytest.raises(InputError, match="camids must have one entry"):
        retrieval.split_views([1, 2], [1])


def test_views_of_many_cameras_never_pair_a_camera_with_itself():
    pids = np.array([1, 1, 1, 2, 2, 3])
    camids = np.array([2, 5, 2, 1, 6, 4])
    gallery, probe = retrieval.split_views(pids, camids)
    np.testing.assert_array_equal(gallery, [0, 2, 3, 5])
    np.testing.assert_array_equal(probe, [1, 4])
