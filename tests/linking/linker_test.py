"""From sightings to identities: people are found, numbers stay, a person's word holds, and doubt stays doubt."""

from pathlib import Path

import numpy as np
import pytest

from vreid_jax.errors import InputError
from vreid_jax.linking import Band, Correction, LinkSettings, Walk, link, read_identities, write_identities
from vreid_jax.linking.decisions import confidence
from vreid_jax.linking.identities import KEY

BAND = Band(1.0, 1.6, "given")


def found(sights, band=BAND, **given):
    return link(sights, Path("."), band, **given)


def key(row):
    return "g.parquet", f"t{row}"


def line(sightings, *places, camids=None, times=None):
    return sightings(np.array([[float(place), 0.0] for place in places]), camids, times)


@pytest.fixture
def crowd(sightings):
    """Eight people, five times each in three cameras, and who they are."""
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(8), 5)
    vectors = 4 * rng.standard_normal((8, 12))[pids] + 0.3 * rng.standard_normal((40, 12))
    start = rng.permutation(40) * 10.0
    order = rng.permutation(40)
    sights = sightings(vectors[order], rng.integers(1, 4, 40), np.stack([start, start + 5], 1))
    return sights, pids[order]


def test_people_are_found_and_numbered_by_when_they_are_first_seen(crowd):
    sights, pids = crowd
    identities = found(sights, Band(4.0, 5.0, "given"))
    numbers = identities.columns["identity"]
    np.testing.assert_array_equal(numbers[:, None] == numbers[None], pids[:, None] == pids[None])
    starts = [sights.times[rows, 0].min() for rows in identities.members().values()]
    assert starts == sorted(starts)
    assert sorted(identities.members()) == list(range(1, 9))
    assert identities.about["next_identity"] == 9
    assert (identities.columns["confidence"] > 0.2).all()
    again = found(sights, Band(4.0, 5.0, "given"))
    assert all(
        (again.columns[name] == values).all() for name, values in identities.columns.items() if name != "rival_distance"
    )


def test_who_stays_behind_alone_when_another_is_left_open_is_nobody_new(sightings):
    identities = found(line(sightings, 2.5, 1.2, 3.2, 0.7, 1.8))  # 2.5 and 1.8 are merged first, and 2.5 leaves
    np.testing.assert_array_equal(identities.columns["identity"], [0, 1, 2, 1, 0])
    assert identities.columns["rival"][4] == 1


def test_a_file_of_identities_gives_back_what_was_written(crowd, tmp_path):
    pytest.importorskip("pyarrow")
    identities = found(crowd[0], Band(4.0, 5.0, "given"))
    write_identities(identities, tmp_path / "i.parquet")
    read = read_identities(tmp_path / "i.parquet")
    assert dict(read.about) == dict(identities.about)
    for name, values in identities.columns.items():
        np.testing.assert_array_equal(read.columns[name], values)
    assert read.row(0)["tracklet_id"] == "t0"


def test_a_damaged_file_of_identities_is_one_sentence(crowd, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "i.parquet"
    with pytest.raises(InputError, match="there is no file of identities"):
        read_identities(file)
    file.write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        read_identities(file)
    write_identities(found(crowd[0], Band(4.0, 5.0, "given")), file)
    table = parquet.read_table(file)
    about = table.schema.metadata[KEY]
    for change, words in (
        ({}, "is not a file of identities"),
        ({KEY: about.replace(b'"threshold": 4.0', b'"threshold": "x"')}, "its metadata.threshold is"),
        ({KEY: about.replace(b'"next_identity": 9', b'"next_identity": 3')}, "contradict each other"),
        ({KEY: about.replace(b'"corrections": 0', b'"corrections": -1')}, "contradict each other"),
        ({KEY: about.replace(b'"path": "g.parquet"', b'"path": "h.parquet"')}, "contradict each other"),
    ):
        parquet.write_table(table.replace_schema_metadata(change), file)
        with pytest.raises(InputError, match=words):
            read_identities(file)
    parquet.write_table(table.drop_columns(["rival"]), file)
    with pytest.raises(InputError, match="needs one column rival of type int64"):
        read_identities(file)


def test_a_tracklet_between_two_people_is_unknown_and_says_who_it_may_be(sightings):
    identities = found(line(sightings, 0, 0.1, 0.2, 0.905, 1.6, 1.7, 1.8))
    numbers = identities.columns["identity"].tolist()
    assert numbers == [1, 1, 1, 0, 2, 2, 2]
    assert identities.columns["rival"][3] in (1, 2)
    assert identities.columns["confidence"][3] == 0
    assert np.isnan(identities.columns["distance"][3])


def test_who_is_alone_is_new_if_far_and_unknown_if_perhaps_somebody(sightings):
    identities = found(line(sightings, 0, 0.1, 1.4, 9))
    assert identities.columns["identity"].tolist() == [1, 1, 0, 2]
    assert identities.columns["rival"].tolist()[2:] == [1, 0]
    assert identities.summary() == {"identities": 2, "across_cameras": 0, "unknown": 1}


def test_a_link_does_not_begin_between_cameras_that_nobody_walks_so_slowly(sightings):
    sights = line(sightings, 0, 0.1, 0.2, camids=[1, 2, 2], times=[(0, 1), (30, 31), (500, 501)])
    assert found(sights).columns["identity"].tolist() == [1, 1, 1]
    settings = LinkSettings(walks=(Walk((1, 2), 40.0),))
    assert found(sights, settings=settings).columns["identity"].tolist() in ([1, 2, 1], [1, 2, 2])
    settings = LinkSettings(walks=(Walk((1, 2), 5.0, 20.0),))
    assert found(sights, settings=settings).columns["identity"].tolist() == [1, 2, 2]


def test_nobody_is_in_two_cameras_at_once_if_these_do_not_overlap(sightings):
    sights = line(sightings, 0, 0.1, camids=[1, 2], times=[(0, 5), (3, 8)])
    assert found(sights).columns["identity"].tolist() == [1, 1]
    numbers = found(sights, settings=LinkSettings(no_overlap=True)).columns["identity"]
    assert numbers.tolist() != [1, 1]


def test_a_persons_word_holds_whatever_the_distances_are(sightings):
    sights = line(sightings, 0, 0.1, 9, 9.1, 20)
    identities = found(
        sights,
        corrections=[
            Correction("same", (key(0), key(4))),
            Correction("different", (key(2),), others=(key(3),)),
            Correction("name", (key(4),), name="Ann"),
        ],
    )
    numbers = identities.columns["identity"]
    assert numbers[0] == numbers[4] != 0
    assert numbers[2] != numbers[3]
    assert identities.columns["name"].tolist() == [("Ann" if number == numbers[0] else "") for number in numbers]
    assert identities.columns["confidence"][[0, 4]].tolist() == [1, 1]


def test_a_person_may_say_that_two_boxes_at_once_are_one(sightings):
    sights = line(sightings, 0, 0.1, times=[(0, 5), (3, 8)])
    assert found(sights).columns["identity"].tolist() != [1, 1]
    numbers = found(sights, corrections=[Correction("same", (key(0), key(1)))]).columns["identity"]
    assert numbers.tolist() == [1, 1]


def test_new_tracklets_join_known_people_whose_numbers_stay(crowd, sightings):
    sights, _ = crowd
    band = Band(4.0, 5.0, "given")
    whole = found(sights, band).columns["identity"]
    chosen = np.sort(np.random.default_rng(1).permutation(40)[:25])

    def some(rows):
        return sightings(sights.vectors[rows], sights.camids[rows], sights.times[rows])

    earlier = found(some(chosen), band)
    order = np.r_[chosen, np.setdiff1d(np.arange(40), chosen)]
    later = found(some(order), band, earlier=earlier)
    numbers = later.columns["identity"]
    np.testing.assert_array_equal(numbers[:25], earlier.columns["identity"])
    np.testing.assert_array_equal(numbers[:, None] == numbers[None], whole[order][:, None] == whole[order][None])
    again = found(some(order), band, earlier=later)
    for name in ("identity", "rival", "confidence"):
        np.testing.assert_allclose(again.columns[name], later.columns[name], atol=1e-5)


def test_corrections_change_known_people_and_numbers_are_not_used_twice(sightings):
    sights = line(sightings, 0, 0.1, 0.2, 9, 9.1, 20)
    earlier = found(sights)
    assert earlier.columns["identity"].tolist() == [1, 1, 1, 2, 2, 3]
    split = [Correction("different", (key(1), key(2)), others=(key(0),))]
    numbers = found(sights, earlier=earlier, corrections=split).columns["identity"]
    assert numbers.tolist() == [1, 4, 4, 2, 2, 3]
    merge = [Correction("same", (key(0), key(4)))]
    merged = found(sights, earlier=earlier, corrections=merge)
    assert merged.columns["identity"].tolist() == [1, 1, 1, 1, 1, 3]
    assert merged.about["next_identity"] == 4
    numbers = found(sights, earlier=merged, corrections=[*merge, Correction("different", (key(4),), others=(key(0),))])
    assert numbers.columns["identity"].tolist()[3:5] in ([1, 4], [4, 4], [4, 5])


def test_a_name_stays_with_the_number_when_some_are_split_off(sightings):
    sights = line(sightings, 0, 0.1, 0.2, 9)
    earlier = found(sights)
    named = Correction("name", (key(0), key(1), key(2)), name="Ann")
    split = Correction("different", (key(0),), others=(key(1), key(2)))
    for corrections in ([named, split], [split, named]):
        columns = found(sights, earlier=earlier, corrections=corrections).columns
        assert columns["identity"].tolist() == [3, 1, 1, 2]
        assert columns["name"].tolist() == ["", "Ann", "Ann", ""]
    rest = Correction("name", (key(0), key(2)), name="Ann")  # of the time before another was linked to them
    pair = Correction("different", (key(0),), others=(key(1),))
    assert found(sights, earlier=earlier, corrections=[rest, pair]).columns["name"].tolist() == ["", "Ann", "Ann", ""]
    off = Correction("name", (key(0),), name="Bea")
    assert found(sights, earlier=earlier, corrections=[named, split, off]).columns["name"].tolist() == [
        "Bea",
        "Ann",
        "Ann",
        "",
    ]


def test_identities_of_another_model_are_refused(sightings):
    sights = line(sightings, 0, 1)
    earlier = found(sights)
    other = type(earlier)(earlier.columns, {**earlier.about, "fingerprint": "e"})
    with pytest.raises(InputError, match="the identities are of model e"):
        found(sights, earlier=other)


def test_confidence_is_a_silhouette_between_the_own_and_the_next():
    assert confidence(0.2, 0.8, 1.0) == pytest.approx(0.75)
    assert confidence(0.2, float("inf"), 1.0) == pytest.approx(0.9)
    assert confidence(float("nan"), float("inf"), 1.0) == pytest.approx(0.5)
    assert confidence(0.8, 0.7, 1.0) == 0.0
