"""`vreid calibrate`, `vreid link` and the page of identities, on files."""

import html
import json
import re

import numpy as np
import pytest

from vreid_jax.linking import Correction, append_correction, read_corrections, read_identities
from vreid_jax.search.gallery import open_gallery, read_about, replace_about

pytest.importorskip("pyarrow")


@pytest.fixture
def crowd(gallery_file):
    """Write a gallery of 30 tracklets of 10 people, three waves of all of them at once."""

    def write(name, camid=1, seed=0, count=30, wave=20.0, **given):
        rng = np.random.default_rng(seed)
        vectors = 3 * np.random.default_rng(9).standard_normal((10, 8))[np.arange(30) % 10]
        times = [(wave * (row // 10), wave * (row // 10) + 9) for row in range(30)]
        vectors += 0.3 * rng.standard_normal((30, 8))
        return gallery_file(name, vectors[:count], camid, times[:count], **given)

    return write


def test_calibrate_keeps_the_rows_bit_for_bit_and_search_uses_it(crowd, vreid):
    path = crowd("g", pictures=False)
    before = open_gallery(path)
    code, printed, said = vreid("calibrate", path, "--false-accept-rate=0.05", "--no-pieces")
    assert (code, said) == (0, "")
    assert "135 pairs of tracklets seen at the same time, of 30 tracklets" in printed
    assert "was not measured: --no-pieces was given" in printed
    after = open_gallery(path)
    assert before.vectors.tobytes() == after.vectors.tobytes()
    assert all(
        (before.columns[name] == values).all() for name, values in after.columns.items() if values.dtype != float
    )
    assert {key: value for key, value in after.about.items() if key != "calibration"} == before.about
    code, printed, _ = vreid("search", path, "--query=track0003", "--false-accept-rate=0.05")
    assert code == 0
    assert re.search(
        r"the same person up to [\d.]+, perhaps up to [\d.]+: of pairs of two persons 5 % pass, measured by", printed
    )
    words = re.findall(r"^ +\d+ +[\d.]+ +(\w+) ", printed, re.MULTILINE)
    assert words[:2] == ["same", "same"]
    assert words == sorted(words, key=["same", "perhaps", "other"].index)
    code, printed, _ = vreid("search", path, "--query=track0003", "--false-accept-rate=0.05", "--json")
    rule = json.loads(printed)["decision"]
    assert rule["threshold"] == rule["interval"][0] <= rule["perhaps"]
    assert rule["pairs"] == 135
    code, _, said = vreid("search", path, "--query=track0003", "--false-accept-rate=0.001")
    assert code == 2
    assert "was too short to measure a threshold for a false-accept rate of 0.001; the rates are 0.05, 0.1" in said


def test_calibrate_refuses_too_few_pairs_and_leaves_the_gallery(crowd, vreid):
    path = crowd("g", pictures=False)
    before = path.read_bytes()
    code, _, said = vreid("calibrate", path, "--no-pieces")
    assert code == 2
    assert "has 135 pairs" in said
    assert "ask for --false-accept-rate=0.023 or more" in said
    assert vreid("calibrate", path, "--no-pieces", "--false-accept-rate=0.05", "--dry-run")[0] == 0
    assert path.read_bytes() == before


def test_a_damaged_calibration_is_one_sentence(crowd, vreid):
    path = crowd("g", pictures=False)
    vreid("calibrate", path, "--false-accept-rate=0.05", "--no-pieces")
    stated = read_about(path)["calibration"]
    for change in (
        {"pairs": -1},
        {"threshold": [0.1]},
        {"false_accept_rate": list(reversed(stated["false_accept_rate"]))},
    ):
        replace_about(path, calibration={**stated, **change})
        code, _, said = vreid("search", path, "--query=track0003")
        assert code == 2
        assert "which is not thresholds measured by `vreid calibrate`" in said
        replaced = crowd("fresh", pictures=False)
        path.write_bytes(replaced.read_bytes())


def test_link_writes_identities_and_a_page_and_overwrites_nothing(crowd, vreid, tmp_path):
    north, south = crowd("north", 1), crowd("south", 2, seed=1)
    out, page = tmp_path / "i.parquet", tmp_path / "i.html"
    flags = ("--threshold=4", "--quiet", f"--page={page}")
    code, printed, said = vreid("link", north, south, f"--out={out}", *flags)
    assert (code, said) == (0, "")
    assert "10 people in 60 tracklets of 2 galleries; 10 of them in several cameras, 0 tracklets unknown" in printed
    identities = read_identities(out)
    assert identities.about["galleries"] == [
        {"path": "north.parquet", "rows": 30},
        {"path": "south.parquet", "rows": 30},
    ]
    assert (identities.columns["identity"].reshape(6, 10) == np.arange(1, 11)).all()
    text = page.read_text()
    assert text.count("<article") == 10
    assert text.count('class="bar right"') == 60
    assert not re.search(r"https?://", text)
    assert "Person 3: 6 tracklets in 2 cameras" in text
    code, _, said = vreid("link", north, f"--out={out}", *flags)
    assert code == 2
    assert f"exists already: name another file, or add to it with --into={out}" in said


@pytest.mark.parametrize(("south", "shown"), [("08:00:00+02:00", "08:00:20 UTC+02:00"), ("06:00:00Z", "06:00:20 UTC")])
def test_the_page_shows_times_in_the_zone_that_all_recordings_state_or_in_utc(crowd, vreid, tmp_path, south, shown):
    starts = ["2026-05-04T08:00:00+02:00", f"2026-05-04T{south}"]
    galleries = [crowd(name, camera, recorded_at=starts[camera - 1]) for camera, name in enumerate(("n", "s"), 1)]
    page = tmp_path / "i.html"
    assert vreid("link", *galleries, f"--out={tmp_path / 'i.parquet'}", "--threshold=4", f"--page={page}")[0] == 0
    text = html.unescape(page.read_text())
    assert text.count(f"<br>{shown}") == 20
    assert f"<span>2026-05-04 {shown.replace('00:20', '00:00')}</span>" in text


def test_a_page_that_cannot_be_written_says_that_the_identities_are(crowd, vreid, tmp_path):
    north, out, flags = crowd("north", 1, pictures=False), tmp_path / "i.parquet", ("--threshold=4", "--quiet")
    code, _, said = vreid("link", north, f"--out={out}", f"--page={tmp_path / 'i.html'}", *flags)
    assert code == 2
    assert f"{out} is written, its page is not: the pictures of track0000 are no longer in" in said
    assert len(read_identities(out)) == 30


def test_link_into_adds_a_gallery_and_respects_corrections(crowd, vreid, tmp_path):
    north, south = crowd("north", 1), crowd("south", 2, seed=1)
    out, other = tmp_path / "i.parquet", tmp_path / "sub" / "j.parquet"
    other.parent.mkdir()
    assert vreid("link", north, f"--out={out}", "--threshold=4", "--quiet")[0] == 0
    append_correction(out, Correction("name", (("north.parquet", "track0002"),), name="<b>Ann</b>"))
    append_correction(
        out, Correction("different", (("north.parquet", "track0001"),), others=(("north.parquet", "track0011"),))
    )
    code, printed, _ = vreid("link", south, f"--into={out}", f"--out={other}", "--threshold=4", "--quiet", "--json")
    assert code == 0
    assert json.loads(printed)["corrections"] == 2
    found = read_identities(other)
    assert found.about["galleries"][0]["path"] == "../north.parquet"
    numbers = found.columns["identity"]
    assert numbers[2] == numbers[12] == numbers[32] == 3
    assert numbers[1] not in (2, 0) or numbers[11] == 2 != numbers[1]
    assert set(found.columns["name"][numbers == 3]) == {"<b>Ann</b>"}
    assert [each.tracklets[0][0] for each in read_corrections(other)] == ["../north.parquet"] * 2
    assert (read_identities(out).about["corrections"], found.about["corrections"]) == (0, 2)
    assert len(read_identities(out)) == 30  # as it was
    code, _, _ = vreid("link", south, f"--into={out}", "--threshold=4", "--quiet", f"--page={tmp_path / 'i.html'}")
    assert code == 0
    assert len(read_identities(out)) == 60
    text = (tmp_path / "i.html").read_text()
    assert "<b>Ann" not in text
    assert "<b>Ann</b>, person 3" in html.unescape(text)


def test_what_is_known_of_the_cameras_stays_known(crowd, vreid, tmp_path, caplog):
    for camera, name in enumerate(("north", "south"), 1):
        crowd(name, camera, pictures=False, recorded_at="2026-05-04T08:00:00Z")
    out, cameras = tmp_path / "i.parquet", tmp_path / "cameras.toml"
    flags = ("--threshold=4", "--quiet")
    cameras.write_text("[[walk]]\nbetween = [2, 1]\nmin_seconds = 86400\n")
    both = (tmp_path / "north.parquet", tmp_path / "south.parquet")
    assert vreid("link", *both, f"--out={tmp_path / 'free.parquet'}", *flags)[0] == 0
    assert read_identities(tmp_path / "free.parquet").summary()["across_cameras"] == 10
    assert vreid("link", both[0], f"--out={out}", f"--cameras={cameras}", *flags)[0] == 2  # camera 2 is not there yet
    assert vreid("link", *both, f"--out={out}", f"--cameras={cameras}", *flags)[0] == 0
    for _ in range(2):
        assert read_identities(out).about["walks"] == [{"between": [1, 2], "min_seconds": 86400.0}]
        assert read_identities(out).summary()["across_cameras"] == 0
        assert vreid("link", f"--into={out}", *flags)[0] == 0
    cameras.write_text("[[walk]]\nbetween = [2, 1]\nmin_seconds = 0\n")
    assert vreid("link", f"--into={out}", f"--cameras={cameras}", *flags)[0] == 0
    assert read_identities(out).about["walks"] == [{"between": [1, 2], "min_seconds": 0.0}]
    assert not caplog.text
    crowd("south", 3, pictures=False, recorded_at="2026-05-04T08:00:00Z")
    assert vreid("link", f"--into={out}", *flags)[0] == 0
    assert "what --cameras once said of the cameras 1 and 2 is left out" in caplog.text
    assert read_identities(out).about["walks"] == []


def test_a_correction_of_a_gallery_that_is_gone_is_not_counted_as_applied(crowd, vreid, tmp_path):
    north, out = crowd("north", 1, pictures=False), tmp_path / "i.parquet"
    assert vreid("link", north, f"--out={out}", "--threshold=4", "--quiet")[0] == 0
    append_correction(out, Correction("name", (("north.parquet", "track0002"),), name="Ann"))
    append_correction(out, Correction("same", (("north.parquet", "track0002"), ("gone.parquet", "track0001"))))
    code, printed, said = vreid("link", f"--into={out}", "--threshold=4", "--quiet")
    assert (code, said) == (0, "")
    assert "tracklets of 1 gallery;" in printed
    assert "1 correction of a person was respected\n1 correction was not applied: the tracklets are in none" in printed


def test_corrections_that_lie_there_already_are_told_or_refused(crowd, vreid, tmp_path, caplog):
    north, out, flags = crowd("north", 1, pictures=False), tmp_path / "i.parquet", ("--threshold=4", "--quiet")
    beside = append_correction(out, Correction("name", (("north.parquet", "track0002"),), name="Ann"))
    assert vreid("link", north, f"--out={out}", *flags)[0] == 0
    assert (
        f"{beside} was there already and its corrections hold: if they are of other recordings, remove" in caplog.text
    )
    assert set(read_identities(out).columns["name"].tolist()) == {"", "Ann"}
    beside.rename(tmp_path / "j.corrections.json")
    code, _, said = vreid("link", f"--into={out}", f"--out={tmp_path / 'j.parquet'}", *flags)
    assert code == 2
    assert "j.corrections.json exists already: name another file of identities, or remove it" in said
    assert not (tmp_path / "j.parquet").exists()


def test_who_was_linked_is_not_who_comes_at_the_same_path_another_day(crowd, vreid, tmp_path, caplog):
    monday, tuesday = ({"recorded_at": f"2026-05-0{day}T08:00:00Z", "pictures": False} for day in (4, 5))
    north, _, out = crowd("north", 1, **monday), crowd("south", 2, seed=1, **monday), tmp_path / "i.parquet"
    flags = ("--threshold=4", "--quiet")
    assert vreid("link", north, tmp_path / "south.parquet", f"--out={out}", *flags)[0] == 0
    of_south = Correction("name", (("south.parquet", "track0003"),), name="Bea")
    append_correction(out, of_south)
    append_correction(out, Correction("name", (("north.parquet", "track0002"),), name="Ann"))
    append_correction(out, Correction("same", (("north.parquet", "track0005"), ("south.parquet", "track0006"))))
    append_correction(out, Correction("name", (("north.parquet", "track0029"),), name="Cyd"))
    crowd("north", 1, count=29, wave=21.0, **tuesday)
    other = tmp_path / "j.parquet"
    assert vreid("link", f"--into={out}", f"--out={other}", *flags)[0] == 0
    assert len(before := read_corrections(out)) == 4
    kept = [tmp_path / f"i.corrections.replaced{number}.json" for number in ("", "-2", "-3")]
    kept[0].write_text("not ours")
    code, printed, _ = vreid("link", f"--into={out}", *flags)
    assert code == 0
    words = "north.parquet is another recording than the one that was linked: what was known of 29 of its tracklets"
    assert words in caplog.text
    assert f"do not hold any more: they are in {kept[1]}" in caplog.text
    kept[1].rename(tmp_path / "k.corrections.json")
    assert read_corrections(tmp_path / "k.parquet") == before[1:]
    kept[1].write_text("not ours")
    assert "3 corrections were not applied: the tracklets are in none of the galleries, or of another" in printed
    for file in (out, other):
        found = read_identities(file)
        numbers = found.columns["identity"]
        assert (numbers[29:39] == np.arange(1, 11)).all()  # who was in the south only, on Monday
        assert set(found.columns["name"].tolist()) == {"", "Bea"}
        assert (found.about["corrections"], read_corrections(file)) == (1, (of_south,))
    assert numbers[5] == numbers[34] != numbers[35]  # as the vectors have it
    crowd("north", 1, wave=22.0, **{**tuesday, "recorded_at": "2026-05-06T08:00:00Z"})
    vreid("link", f"--into={out}", *flags)
    assert set(read_identities(out).columns["name"].tolist()) == {"", "Bea"}  # nor are they Ann the day after
    assert caplog.text.count("is another recording") == 3
    assert [path.exists() for path in kept] == [True, True, False]  # nothing was left to keep


def test_numbers_names_and_corrections_stay_when_the_start_of_a_recording_is_corrected(crowd, vreid, tmp_path, caplog):
    moments = [{"recorded_at": f"2026-05-04T{hour}:00:00Z", "pictures": False} for hour in ("08", "07")]
    north, out = crowd("north", 1, **moments[0]), tmp_path / "i.parquet"
    assert vreid("link", north, f"--out={out}", "--threshold=4", "--quiet")[0] == 0
    append_correction(out, Correction("name", (("north.parquet", "track0002"),), name="Ann"))
    flags = (crowd("south", 1, seed=1, **moments[0]), f"--into={out}", "--threshold=4", "--quiet")
    code, _, said = vreid("link", *flags)
    assert code == 2
    assert "say with --start=DATETIME when each video began" in said
    crowd("north", 1, **moments[1])
    assert vreid("link", *flags)[0] == 0
    found = read_identities(out)
    assert set(found.columns["name"][found.columns["identity"] == 3]) == {"Ann"}
    assert found.columns["start_seconds"][30] - found.columns["start_seconds"][0] == 3600
    assert len(read_corrections(out)) == 1
    assert caplog.text == ""


def test_so_they_do_in_a_folder_whose_names_hold_the_start(crowd, vreid, tmp_path, caplog):
    town, out, flags = tmp_path / "town", tmp_path / "i.parquet", ("--threshold=4", "--quiet")
    town.mkdir()

    def put(hour, **given):
        moment = {"recorded_at": f"2026-05-04T{hour}:00:00Z", "pictures": False}
        crowd("north", 1, **moment, **given).replace(town / "north.parquet")
        return open_gallery(town).columns["tracklet_id"].tolist()

    names = put("08")
    assert vreid("link", town, f"--out={out}", *flags)[0] == 0
    append_correction(out, Correction("name", (("town", names[2]),), name="Ann"))
    append_correction(out, Correction("different", (("town", names[1]),), (("town", names[11]),)))
    assert vreid("link", f"--into={out}", *flags)[0] == 0
    before = read_identities(out).columns
    names = put("07")
    code, _, said = vreid("forget", town, f"--identities={out}", "--identity=3")
    assert code == 2
    assert (
        f"other names for 30 tracklets that were linked, as after their --start was corrected: link it again with --into={out}"
        in said
    )
    for flag in (f"--out={tmp_path / 'j.parquet'}", *flags[:1]):
        code, printed, _ = vreid("link", f"--into={out}", flag, *flags)
        assert (code, caplog.text) == (0, "")
        assert "2 corrections of a person were respected" in printed
    for file in (tmp_path / "j.parquet", out):
        found = read_identities(file).columns
        assert found["tracklet_id"].tolist() == names
        assert all((found[name] == before[name]).all() for name in ("identity", "name"))
        assert [each.tracklets[0][1] for each in read_corrections(file)] == [names[2], names[1]]
    put("09", count=29, wave=21.0)
    assert vreid("link", f"--into={out}", *flags)[0] == 0
    assert f"town no longer has {min(names)}, as 30 of the tracklets that were linked are gone" in caplog.text
    assert read_identities(out).columns["identity"].min() > 11  # another recording of that file name


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=i.txt"], "must end in .parquet"),
        (["--out=no/i.parquet"], "the folder of no/i.parquet does not exist"),
        ([], "name the file of identities to write with --out"),
        (["--out=i.parquet", "--page=i.pdf"], "--page=i.pdf has to end in .html"),
        (
            ["--out=i.parquet", "--page=g.html", "--threshold=1"],
            "--page=g.html exists already and is not the page of i",
        ),
        (["--out=i.parquet", "--page=no/i.html", "--threshold=1"], "the folder of --page=no/i.html does not exist"),
        (["--out=i.parquet", "--threshold=0"], "--threshold=0 must be a distance above 0"),
        (["--out=i.parquet", "--false-accept-rate=2"], "must be above 0 and at most 0.5"),
        (["--out=i.parquet", "--cameras=none.toml"], "none.toml cannot be read"),
        (["--into=none.parquet"], "there is no file of identities none.parquet"),
        (["--out=i.parquet"], "or give the largest distance of one person with --threshold"),
    ],
)
def test_what_cannot_be_linked_is_one_sentence(gallery_file, vreid, tmp_path, monkeypatch, flags, words):
    path = gallery_file("g", np.eye(3), pictures=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.html").write_text("not a page")
    before = sorted(tmp_path.iterdir())
    code, printed, said = vreid("link", path, *flags, "--quiet")
    assert (code, printed) == (2, "")
    assert words in said
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_the_page_puts_the_doubtful_first_and_says_who_it_may_be(gallery_file, vreid, tmp_path):
    path = gallery_file(
        "g", [[0], [0.1], [0.2], [0.905], [1.6], [1.7], [1.8], [30]], times=[(9 * n, 9 * n + 5) for n in range(8)]
    )
    page = tmp_path / "i.html"
    code, _, said = vreid("link", path, f"--out={tmp_path / 'i.parquet'}", "--threshold=1", f"--page={page}", "--quiet")
    assert (code, said) == (0, "")
    headings = re.findall(r"<h3>(.*?)</h3>", page.read_text())
    assert re.fullmatch(r"Unknown, track0003: perhaps person [12]", headings[0])
    assert headings[-1] == "Person 3: 1 tracklet in camera 1"
