"""What is found in a gallery and decided of it: order, thresholds, who is hidden and who cannot be the same person."""

import dataclasses
import json

import numpy as np
import pytest

from vreid_jax import retrieval
from vreid_jax.errors import InputError
from vreid_jax.search import find, open_gallery, ranked
from vreid_jax.search.gallery import make_table, pyarrow

pytest.importorskip("pyarrow")


def test_the_nearest_are_those_of_the_whole_matrix_and_the_query_is_not_among_them(gallery_file):
    gallery = open_gallery(gallery_file)
    distances = retrieval.pairwise_distance(gallery.vectors, gallery.vectors)
    names = gallery.columns["tracklet_id"]
    hidden = ranked.left_out(gallery, names[:4].tolist(), None)
    for query, matches in enumerate(find(gallery, gallery.vectors[:4], 5, leave_out=hidden)):
        order = [row for row in np.argsort(distances[query], kind="stable") if row != query][:5]
        assert [match.row["tracklet_id"] for match in matches] == names[order].tolist()
        np.testing.assert_allclose([match.distance for match in matches], distances[query, order], rtol=1e-4)
        assert [match.rank for match in matches] == [1, 2, 3, 4, 5]
    cameras = gallery.columns["camid"]
    hidden = ranked.left_out(gallery, names[:4].tolist(), cameras[:4])
    for query, matches in enumerate(find(gallery, gallery.vectors[:4], 100, leave_out=hidden)):
        assert len(matches) == (cameras != cameras[query]).sum()
        assert cameras[query] not in [match.row["camid"] for match in matches]


def test_masks_that_are_asked_for_a_block_at_a_time_find_what_whole_ones_find_and_no_row_of_them_is_made(gallery_file):
    gallery = open_gallery(gallery_file)
    count = len(gallery)
    seconds = {"start_seconds": np.arange(count) * 1.0, "end_seconds": np.arange(count) + 5.0}
    vectors = gallery.vectors[np.arange(count) // 3]  # ties in threes
    gallery = dataclasses.replace(gallery, vectors=vectors, columns={**gallery.columns, **seconds})
    names, cameras = gallery.columns["tracklet_id"].tolist(), gallery.columns["camid"]
    times = np.stack(list(seconds.values()), 1)
    whole = find(
        gallery,
        gallery.vectors,
        4,
        leave_out=(hidden := ranked.left_out(gallery, names, cameras)),
        apart=ranked.at_once(gallery, times),
    )
    asked = []

    def apart(part, rows):
        asked.append(len(rows))
        return ranked.at_once(gallery, times[part], rows=rows)

    found = find(
        gallery,
        gallery.vectors,
        4,
        leave_out=lambda part, rows: ranked.left_out(gallery, names[part], cameras[part], rows),
        apart=apart,
    )
    assert found == whole
    assert asked == [4] * count
    distances, order = retrieval.top_k(vectors, vectors, count, gallery.about["metric"])
    for query, matches in enumerate(found):
        kept = ~hidden[query, order[query]]
        assert [match.row["tracklet_id"] for match in matches] == [names[row] for row in order[query, kept][:4]]
        assert [match.distance for match in matches] == distances[query, kept][:4].tolist()


OPEN_SET = {
    "protocol": "walkers",
    "false_accept_rate": [0.001, 0.01, 0.1],
    "threshold": [None, 0.5, 0.8],
    "true_accept_rate": [0.0, 0.4, 0.7],
}


def test_the_decision_is_the_largest_measured_rate_that_does_not_exceed_the_wish():
    rule = ranked.decision({"open_set": OPEN_SET}, 0.05)
    assert (rule.threshold, rule.false_accept_rate, rule.true_accept_rate) == (0.5, 0.01, 0.4)
    assert ranked.decision({"open_set": OPEN_SET}, 0.1).threshold == 0.8
    assert ranked.decision({"open_set": None}, 0.1) is None
    with pytest.raises(
        InputError,
        match=r"no threshold was measured for a false-accept rate of 0.005; the measured rates are 0.01, 0.1",
    ):
        ranked.decision({"open_set": OPEN_SET}, 0.005)
    with pytest.raises(InputError, match="fraction in"):
        ranked.decision({"open_set": OPEN_SET}, 5)


def test_thresholds_of_another_distance_are_refused():
    measured = {**OPEN_SET, "metric": "cosine"}
    assert ranked.decision({"open_set": measured, "metric": "cosine"}, 0.1).threshold == 0.8
    with pytest.raises(InputError, match="are for the cosine distance, but the gallery is searched by the euclidean"):
        ranked.decision({"open_set": measured, "metric": "euclidean"}, 0.1)


def test_matches_are_decided_by_the_threshold(gallery_file):
    gallery = open_gallery(gallery_file)
    gallery.about["open_set"] = OPEN_SET
    matches = find(gallery, gallery.vectors[:1], 21, false_accept_rate=0.1)[0]
    assert [match.same_person for match in matches] == [match.distance <= 0.8 for match in matches]


def with_columns(gallery, out, about=None, rows=slice(None), **columns):
    """A gallery with other columns and another `about`, of some rows."""
    own = {name: values.tolist() for name, values in gallery.columns.items()} | columns
    table = make_table(gallery.vectors, own, {**gallery.about, **(about or {})})
    pyarrow().parquet.write_table(table.take(np.arange(len(gallery))[rows]), out)
    return out


def test_two_tracks_of_a_video_in_one_picture_are_not_the_same_person(vreid, gallery_file, tmp_path):
    whole = open_gallery(gallery_file)
    count = len(whole)
    times = {
        "start_seconds": [0.0, 1.0, 2.1] + [None] * (count - 3),
        "end_seconds": [1.5, 2.0, 3.0] + [9.0] * (count - 3),
    }
    about = {"open_set": {**OPEN_SET, "threshold": [9.0] * 3}, "input": "a.avi"}
    path = with_columns(whole, tmp_path / "a.parquet", about, **times)
    together = ranked.at_once(open_gallery(path), np.array([[0.0, 1.5], [1.6, 2.1], [np.nan, 9.0]]))
    assert together[:, :4].tolist() == [[True, True, False, False], [False, True, True, False], [False] * 4]
    names = whole.columns["tracklet_id"].tolist()
    other = with_columns(whole, tmp_path / "b.parquet", about | {"input": "b.avi"}, slice(0, 1), **times)
    for query, expected in ((names[0], {names[1]: False, names[2]: True}), (other, {names[1]: True, names[2]: True})):
        code, printed, said = vreid("search", path, f"--query={query}", "--k=30", "--json")
        assert code == 0, said
        (found,) = json.loads(printed)["queries"]
        same = {match["tracklet_id"]: match["same_person"] for match in found["matches"]}
        assert {name: same[name] for name in expected} == expected
        assert all(same[name] for name in names[3:])
        _, printed, _ = vreid("search", path, f"--query={query}", "--k=30")
        reasons = [line for line in printed.splitlines() if line.endswith(", seen at the same time")]
        assert [names[1] in line for line in reasons] == ([True] if not expected[names[1]] else [])


def test_videos_of_one_name_in_two_folders_are_two_videos(vreid, gallery_file, tmp_path):
    whole = open_gallery(gallery_file)
    count = len(whole)
    given = {"start_seconds": [0.0] * count, "end_seconds": [1.0] * count, "folder": ["/pictures/track0001"] * count}
    about = {"open_set": {**OPEN_SET, "threshold": [9.0] * 3}, "input": "v.webm"}  # as earlier versions noted it
    first, second = (tmp_path / name / "g.parquet" for name in ("f1", "f2"))
    for path in (first, second):
        path.parent.mkdir()
        with_columns(whole, path, about, **given)
    same = with_columns(whole, tmp_path / "same.parquet", about | {"input": str(tmp_path / "f1" / "v.webm")}, **given)
    for query, found in ((second, count), (same, count - 1), (first, count - 1)):
        code, printed, said = vreid("search", first, f"--query={query}", "--k=30", "--json")
        assert code == 0, said
        matches = json.loads(printed)["queries"][0]["matches"]
        assert [match["same_person"] for match in matches] == [found == count] * found


def test_the_decision_says_on_what_it_was_measured(vreid, gallery_file, tmp_path):
    whole = open_gallery(gallery_file)
    assert whole.about["dataset"] == "walkers"
    name = whole.columns["tracklet_id"][0]
    _, printed, _ = vreid("search", gallery_file, f"--query={name}", "--false-accept-rate=0.1")
    assert "measured on walkers by protocol walkers: in pictures of another kind it may be off" in printed
    path = with_columns(whole, tmp_path / "older.parquet", {"dataset": None})
    _, printed, _ = vreid("search", path, f"--query={name}", "--false-accept-rate=0.1")
    assert "measured on the test set of the model by protocol walkers" in printed


def test_a_name_of_the_gallery_is_not_taken_for_a_folder(vreid, workdir, gallery_file, tmp_path, monkeypatch):
    name = open_gallery(gallery_file).columns["tracklet_id"][0]
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    code, _, said = vreid("search", gallery_file, f"--query={name}", "--false-accept-rate=0.1")
    assert code == 0, said
    code, _, said = vreid("search", gallery_file, f"--query={name}", f"--model={workdir}", "--false-accept-rate=0.1")
    assert code == 2
    assert "has no pictures" in said


def test_a_gallery_of_one_and_one_without_cameras_say_what_they_lack(vreid, gallery_file, tmp_path):
    whole = open_gallery(gallery_file)
    name = whole.columns["tracklet_id"][0]
    one = with_columns(whole, tmp_path / "one.parquet", None, slice(0, 1))
    code, printed, _ = vreid("search", one, f"--query={name}", "--false-accept-rate=0.1")
    assert code == 0
    assert "nothing else is in the gallery" in printed
    path = with_columns(whole, tmp_path / "nowhere.parquet", camid=[0] * len(whole))
    flags = [f"--query={name}", "--other-cameras", "--false-accept-rate=0.1"]
    code, _, said = vreid("search", path, *flags)
    assert code == 2
    assert f"every camera of {path} is unknown: name the camera with --camera when you embed" in said
