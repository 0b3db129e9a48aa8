import functools
import inspect
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vreid_jax import data, evaluation, models, retrieval
from vreid_jax.config import default_protocols
from vreid_jax.config.run import parse_streams
from vreid_jax.errors import InputError
from vreid_jax.evaluation import features as extraction
from vreid_jax.experiment.results import Results
from vreid_jax.training.network import Network


class Split:
    """The labels of a split."""

    def __init__(self, split, ids, pids, camids):
        self.split = split
        self.tracklet_ids = np.array(ids)
        self.pids, self.camids = np.array(pids), np.array(camids)
        self.num_frames = np.full(len(ids), 3)

    def __len__(self):
        return len(self.pids)


# The labels alone do, whatever the type says.
twin_scores = inspect.unwrap(evaluation.twin_scores)


@pytest.fixture(scope="module")
def tiny(tiny_builder):
    return evaluation.make_test_set(*(data.TrackletSource(tiny_builder, split) for split in ("query", "gallery")))


def test_a_tracklet_of_both_splits_is_embedded_once_and_junk_not_at_all(tiny):
    assert (len(tiny.query), len(tiny.gallery), len(tiny.tracklets)) == (18, 23, 21)
    assert len(set(tiny.tracklets.tracklet_ids)) == 21
    np.testing.assert_array_equal(tiny.tracklets.tracklet_ids[tiny.query_rows], tiny.query.tracklet_ids)
    kept = tiny.gallery.pids != -1
    np.testing.assert_array_equal(tiny.tracklets.tracklet_ids[tiny.gallery_rows[kept]], tiny.gallery.tracklet_ids[kept])
    np.testing.assert_array_equal(tiny.gallery_rows[~kept], -1)
    assert -1 not in tiny.tracklets.pids


def test_an_empty_split_is_an_error(tiny, monkeypatch):
    monkeypatch.setattr(type(tiny.query), "__len__", lambda self: 0)
    with pytest.raises(InputError, match="the split query is empty"):
        evaluation.make_test_set(tiny.query, tiny.gallery)


def test_features_do_not_depend_on_batches_and_padding(tiny, toy, initialised):
    module = models.create("toy", num_classes=3)
    variables = initialised(module, jnp.zeros((1, 2, 32, 16, 3)))
    apply = jax.jit(functools.partial(module.apply, train=False, stream="temporal"))
    stream = parse_streams(toy.evaluation)["temporal"]
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)

    def extract(batch_frames):
        network, options = Network(module, mean, std), extraction.ExtractionOptions((32, 16), batch_frames, 2)
        return extraction.extract_stream(network, variables, tiny.tracklets, stream, options, name="x")

    small, large = extract(8), extract(1000)
    assert small.shape == (21, 8)
    np.testing.assert_allclose(small, large, atol=1e-5)
    # And they are the mean over the clips of the module's feature, tracklet by tracklet.
    for row in (0, 20):
        numbers = data.split_clips("all", int(tiny.tracklets.num_frames[row]), 2)
        frames = data.resize(tiny.tracklets.read(row, numbers.reshape(-1)), 32, 16).reshape(-1, 2, 32, 16, 3)
        clips = ((frames / 255 - np.array(mean).reshape(1, 1, 1, 1, 3)) / np.array(std).reshape(1, 1, 1, 1, 3)).astype(
            np.float32
        )
        expected = np.asarray(apply(variables, clips)["feature"]).mean(0)
        np.testing.assert_allclose(small[row], expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [5, 2, 9, 1], [4, 4], [13], [3, 3, 2]])
def test_batches_hold_every_clip_once_and_are_padded_to_one_size(sizes):
    items, number = [], 0
    for row, size in enumerate(sizes):
        items.append((row, np.arange(number, number + size)[:, None]))
        number += size
    batches = list(extraction._batches(iter(items), lambda length: 4))
    assert all(clips.shape == (4, 1) for clips, _ in batches)
    rows = np.concatenate([rows for _, rows in batches])
    clips = np.concatenate([clips[: len(rows), 0] for clips, rows in batches])
    np.testing.assert_array_equal(clips, np.arange(number))
    np.testing.assert_array_equal(rows, np.repeat(np.arange(len(sizes)), sizes))


def test_twin_scores_worked_by_hand():
    # Persons 1 and 2 are twins, 3 has none. Query 0 is person 1 in camera 1; in camera 2 itself is at distance 1, its
    # twin at 2: right. In camera 3 only the twin is seen: no comparison. Query 1 is person 2 in camera 2; in camera 1
    # itself is at 3, its twin at 3: half. In camera 3 itself at 5, but person 1 is not there: no comparison.
    query = Split("query", ["a", "b", "c"], [1, 2, 3], [1, 2, 1])
    gallery = Split("gallery", list("defghi"), [1, 2, 2, 1, 2, 3], [2, 2, 1, 1, 3, 2])
    test = types.SimpleNamespace(query=query, gallery=gallery, query_rows=np.arange(3), gallery_rows=np.arange(6))
    table = np.array([[1.0, 2.0, 9.0, 9.0, 0.5, 9.0], [9.0, 9.0, 3.0, 3.0, 5.0, 9.0], [0.0] * 6])
    scores = twin_scores(test, lambda q, g: table[np.ix_(q, g)], [[1, 2]])
    assert scores == {"rank1": 0.75, "num_pairs": 2}
    nobody = twin_scores(test, lambda q, g: table[np.ix_(q, g)], [[8, 9]])
    assert nobody["num_pairs"] == 0
    assert np.isnan(nobody["rank1"])


def test_the_nearest_of_several_tracklets_decides_between_twins():
    query, gallery = Split("query", ["a"], [1], [1]), Split("gallery", list("bcd"), [1, 1, 2], [2, 2, 2])
    test = types.SimpleNamespace(query=query, gallery=gallery, query_rows=np.arange(1), gallery_rows=np.arange(3))
    distances = np.array([[5.0, 1.0, 2.0]])
    assert twin_scores(test, lambda q, g: distances[:, g], [[1, 2]])["rank1"] == 1.0


def test_streams_are_normalised_and_concatenated():
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), np.array([[0.0, 2.0], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(extraction.fuse({"a": a, "b": b}), [[0.6, 0.8, 0, 1], [0, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(extraction.fuse({"a": a}), a)


def test_color_histogram_of_one_colour_and_of_two_halves():
    red, half = np.zeros((1, 12, 4, 3), np.uint8), np.zeros((1, 12, 4, 3), np.uint8)
    red[..., 0] = 255
    half[:, :, 2:, 1] = 130

    class Two(Split):
        def read(self, row, numbers):
            return np.repeat((red, half)[row], len(numbers), 0)

    split = Two("query", ["a", "b"], [1, 2], [1, 1])
    features = extraction.color_histogram(split, (12, 4), stripes=3).reshape(2, 3, 64)
    expected = np.zeros((3, 64))
    expected[:, 3 * 16] = 1.0  # red in its highest of four bins, green and blue in their lowest
    np.testing.assert_allclose(features[0], expected)
    expected = np.zeros((3, 64))
    expected[:, 0] = expected[:, 2 * 4] = np.sqrt(0.5)  # 130 is in the third of four bins
    np.testing.assert_allclose(features[1], expected, rtol=1e-6)


def test_distances_of_rows_are_the_same_from_a_table_and_alone():
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    rows = np.array([3, 0]), np.array([1, 8, 3])
    expected = np.linalg.norm(features[rows[0]][:, None] - features[rows[1]][None], axis=2)
    np.testing.assert_allclose(evaluation.FeatureDistances(features, "euclidean")(*rows), expected, atol=1e-3)
    many = np.concatenate([features, np.zeros((4100, 4), np.float32)])
    np.testing.assert_allclose(evaluation.FeatureDistances(many, "euclidean")(*rows), expected, atol=1e-3)


def test_selections_are_persons_ranked_ten_times(tiny):
    features = np.random.default_rng(0).normal(size=(21, 5)).astype(np.float32)
    distances = evaluation.FeatureDistances(features, "euclidean")
    found = evaluation.selection_scores(tiny, distances, ("random/all", "all/all"))
    assert list(found) == ["tracklets_random_all", "tracklets_all_all"]
    pids, camids = tiny.tracklets.pids, tiny.tracklets.camids
    draws = [
        retrieval.rank(*retrieval.select_tracklets(features, pids, camids, "random", "all", seed)) for seed in range(10)
    ]
    np.testing.assert_allclose(found["tracklets_random_all"]["rank1"], np.mean([draw.cmc[0] for draw in draws]))
    np.testing.assert_allclose(found["tracklets_random_all"]["mAP"], np.mean([draw.mAP for draw in draws]))
    whole = retrieval.rank(*retrieval.select_tracklets(features, pids, camids, "all", "all"))
    np.testing.assert_allclose(found["tracklets_all_all"]["cmc"], whole.cmc)
    assert found["tracklets_all_all"].keys() == whole.summary().keys()
    with pytest.raises(InputError, match="selections names 'all'; it is PROBE/GALLERY"):
        evaluation.selection_scores(tiny, distances, ("all",))


def test_both_protocols_of_mars_are_scored_and_their_counts_printed(tiny):
    features = np.random.default_rng(0).normal(size=(21, 5)).astype(np.float32)
    scores = evaluation.score(tiny, evaluation.FeatureDistances(features, "euclidean"), default_protocols("mars"))
    vectors = np.concatenate([features, np.zeros((1, 5), np.float32)])  # row -1: junk, which is never embedded
    away = ~np.isin(tiny.gallery.tracklet_ids, tiny.query.tracklet_ids) & (tiny.gallery.pids != -1)
    for name, kept in (("mars", tiny.gallery.pids > -2), ("mars_query_free", away)):
        distances = np.linalg.norm(features[tiny.query_rows][:, None] - vectors[tiny.gallery_rows][None], axis=2)[
            :, kept
        ]
        labels = tiny.query.pids, tiny.gallery.pids[kept], tiny.query.camids, tiny.gallery.camids[kept]
        expected = retrieval.rank(distances, *labels)
        assert scores[name]["mAP"] == pytest.approx(expected.mAP, rel=1e-5, nan_ok=True)
        assert scores[name]["num_valid_queries"] == expected.num_valid_queries
        assert scores[name]["num_gallery"] == expected.num_gallery
    assert scores["mars_query_free"]["num_gallery"] < scores["mars"]["num_gallery"]
    table = Results("x", "mars", 0, 0, 1, scores).table()
    counts = scores["mars_query_free"]
    assert "x (mars_query_free)" in table
    assert (
        f"Protocol mars_query_free: 18 queries, {counts['num_valid_queries']} valid, gallery {counts['num_gallery']}."
        in table
    )
