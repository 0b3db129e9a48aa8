"""The page of a gallery: real pictures beside each other, decided by the threshold, without the network."""

import dataclasses
import html
import json
import re
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from vreid_jax import report
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.report import gallery_page
from vreid_jax.search.calibration import Calibration
from vreid_jax.search.gallery import make_table, open_gallery, pyarrow, replace_about

pytest.importorskip("pyarrow")

OPEN_SET = {
    "protocol": "walkers", "metric": "euclidean", "false_accept_rate": [0.01, 0.1], "threshold": [0.5, 1.5],
    "true_accept_rate": [0.4, 0.7],
}  # fmt: skip


class Elements(HTMLParser):
    """The tags of a page, the `title`s of its tracklets and the `alt`s of its pictures, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.titles, self.alternatives = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "li" and "title" in found:
            self.titles.append(found["title"])
        if tag == "img":
            self.alternatives.append(found["alt"])


@pytest.fixture
def gallery(tmp_path):
    """Four tracklets on a line at 0, 0.4, 2 and 2.2."""
    names = [f"track{number}" for number in range(4)]
    for shade, name in enumerate(names):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        for number in (3, 4):
            cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.full((40, 20, 3), 60 * shade, np.uint8))
    columns = {
        "tracklet_id": names, "pid": [0] * 4, "camid": [1, 1, 2, 2], "split": [""] * 4, "num_frames": [2] * 4,
        "first_frame": [3] * 4, "last_frame": [4] * 4, "start_seconds": [0.2, 1.2, 2.2, None],
        "end_seconds": [0.3, 1.3, 2.3, None], "folder": [str(tmp_path / "people" / name) for name in names],
        "model": ["f"] * 4,
    }  # fmt: skip
    about = {"model": "toy", "fingerprint": "f", "metric": "euclidean", "open_set": OPEN_SET, "input": "people"}
    path = tmp_path / "people.parquet"
    vectors = np.array([[0.0], [0.4], [2.0], [2.2]], np.float32)
    pyarrow().parquet.write_table(make_table(vectors, columns, about), path)
    return path


def test_every_tracklet_asks_and_those_with_the_nearest_neighbours_come_first(gallery):
    text = report.write_gallery_report(gallery).read_text()
    headings = re.findall(r"<h3>(.*?)</h3>", text)
    assert [heading.partition(":")[0] for heading in headings] == ["track2", "track3", "track0", "track1"]
    assert all(heading.endswith(": 1 of the nearest 3 within the threshold") for heading in headings)
    assert (text.count('class="item right"'), text.count('class="item wrong"')) == (4, 8)
    assert text.count("data:image/jpeg;base64,") == 16
    assert not re.search(r"https?://", text)
    assert "0.2-0.3 s" in text


def test_a_page_of_some_tracklets_says_of_how_many(gallery):
    said = "The queries are the 2 of 4 tracklets whose nearest neighbours are nearest; --queries=N shows more of them."
    assert said in report.write_gallery_report(gallery, num_queries=2).read_text()
    assert "The queries are" not in report.write_gallery_report(gallery).read_text()
    assert "The queries are" not in report.write_gallery_report(gallery, queries=["track1"]).read_text()


def test_two_that_were_in_the_picture_at_once_are_not_the_same_person(gallery):
    opened = open_gallery(gallery)
    columns = {name: values.tolist() for name, values in opened.columns.items()} | {"start_seconds": [0.2] * 4}
    pyarrow().parquet.write_table(make_table(opened.vectors, columns, opened.about), gallery)
    text = report.write_gallery_report(gallery, queries=["track0", "track3"]).read_text()
    headings = re.findall(r"<h3>(.*?)</h3>", text)
    within = "1 of the nearest 3 within the threshold"
    assert headings == [f"track0: {within}, 1 of them seen at the same time", f"track3: {within}"]  # it has no end


def test_no_other_camera_is_asked_for_where_none_is_known(gallery):
    opened = open_gallery(gallery)
    columns = {name: values.tolist() for name, values in opened.columns.items()} | {"camid": [0] * 4}
    pyarrow().parquet.write_table(make_table(opened.vectors, columns, opened.about), gallery)
    with pytest.raises(InputError, match="is unknown: name the camera with --camera when you embed"):
        report.write_gallery_report(gallery, other_cameras=True)


def test_the_rate_the_query_and_the_cameras_are_chosen_by_flags(gallery, tmp_path, capsys):
    out = tmp_path / "page.html"
    flags = ["--query=track1", "--false-accept-rate=0.1", "--other-cameras", f"--out={out}"]
    assert command.main(["report", str(gallery), *flags]) == 0
    text = out.read_text()
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["track1: none of the nearest 2 within the threshold"]
    assert "up to 1.5" in text


def test_a_gallery_without_thresholds_decides_nothing(gallery):
    table = pyarrow().parquet.read_table(gallery)
    about = {key: value.replace(b'"open_set": {', b'"was": {') for key, value in table.schema.metadata.items()}
    pyarrow().parquet.write_table(table.replace_schema_metadata(about), gallery)
    text = report.write_gallery_report(gallery).read_text()
    assert text.count('class="item open"') == 12
    assert "<button" not in text  # there is nothing to choose from
    assert "not decided: the model was not evaluated" in text
    assert "threshold was measured" not in text


def with_about(gallery, **about):
    """The gallery with other metadata, written over it."""
    opened = open_gallery(gallery)
    columns = {name: values.tolist() for name, values in opened.columns.items()}
    pyarrow().parquet.write_table(make_table(opened.vectors, columns, {**opened.about, **about}), gallery)
    return gallery


def test_where_the_threshold_is_of_other_footage_the_page_shows_an_order_and_says_why(gallery):
    page = report.write_gallery_report(with_about(gallery, open_set=None, measured_on="walkers/wild"))
    text = html.unescape(page.read_text())
    assert (
        "The page shows an order, nearest first, and does not say who is the same person: the model's threshold was "
        "measured on walkers/wild and does not hold for other footage. A threshold has to be measured on footage of the "
        "same cameras."
    ) in text
    assert text.count('class="item open"') == 12
    assert "within the threshold" not in text
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["track2", "track3", "track0", "track1"]


def test_without_a_threshold_those_seen_at_the_same_time_are_still_other_people(gallery):
    opened = open_gallery(gallery)
    columns = {name: values.tolist() for name, values in opened.columns.items()} | {"start_seconds": [0.2] * 4}
    about = {**opened.about, "open_set": None}
    pyarrow().parquet.write_table(make_table(opened.vectors, columns, about), gallery)
    text = report.write_gallery_report(gallery, queries=["track0"]).read_text()
    assert (text.count('class="item open"'), text.count('class="item wrong"')) == (1, 2)  # track3 has no end
    assert text.count("<br>same time") == 2


def test_the_page_says_where_the_threshold_was_measured_and_that_it_may_be_off(gallery):
    text = html.unescape(report.write_gallery_report(gallery).read_text())
    assert "The threshold was measured on the model's test set, protocol walkers; on video of another kind" in text
    text = report.write_gallery_report(with_about(gallery, dataset="walkers/small")).read_text()
    assert (
        "The threshold was measured on walkers/small, protocol walkers; on video of another kind it may be off" in text
    )
    assert "the same person</" not in text


def test_a_calibrated_gallery_has_a_band_of_perhaps_and_names_its_pairs(gallery):
    measured = Calibration((0.01, 0.1), (0.5, 2.1), (0.45, 2.0), (0.6, 2.15), (None, None), "euclidean", 55, 12)
    replace_about(gallery, calibration=measured.as_metadata())
    text = html.unescape(report.write_gallery_report(gallery, queries=["track0"]).read_text())
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["track0: 1 of the nearest 3 within the threshold"]
    assert [text.count(f"<br>{word}") for word in ("within", "perhaps", "beyond")] == [1, 1, 1]
    assert (
        "The threshold was measured on 55 pairs of this gallery seen at the same time, by <code>vreid calibrate</code>."
        in text
    )
    assert "Grey frame: perhaps the same person." in text
    assert "up to 0.45" in text
    assert "same-person pairs within it" not in text


def test_who_is_near_but_seen_at_the_same_time_is_not_a_candidate(gallery, monkeypatch):
    def together(*arguments, **named):
        return [[dataclasses.replace(match, same_person=False) for match in one] for one in find(*arguments, **named)]

    find = gallery_page.find
    monkeypatch.setattr(gallery_page, "find", together)
    text = report.write_gallery_report(gallery).read_text()
    assert text.count("1 of the nearest 3 within the threshold, 1 of them seen at the same time</h3>") == 4
    assert (text.count('class="item right"'), text.count('class="item wrong"')) == (0, 12)
    assert (text.count("<br>beyond"), text.count("<br>same time")) == (8, 4)


def test_a_hostile_name_stays_text_in_every_place(gallery):
    opened = open_gallery(gallery)
    hostile = """x"><script>alert('1')</script>"""
    names = {"tracklet_id": [f"{hostile}{number}" for number in range(4)]}
    columns = {name: values.tolist() for name, values in opened.columns.items()} | names
    about = {**opened.about, "input": hostile, "model": hostile, "dataset": hostile}
    pyarrow().parquet.write_table(make_table(opened.vectors, columns, about), gallery)
    text = report.write_gallery_report(gallery).read_text()
    found = Elements(text)
    assert found.tags.count("script") == 1  # the page's own
    assert "<script>alert" not in text
    assert len([name for name in found.titles if name.startswith(hostile)]) == 16
    assert all(re.fullmatch(rf"\w* ?\w*: {re.escape(hostile)}\d.*", name) for name in found.alternatives)
    assert hostile in html.unescape(text)


def test_what_cannot_be_shown_is_one_sentence(gallery, tmp_path):
    with pytest.raises(
        InputError, match=r"nobody is not a tracklet of .*people.parquet; it has track0, track1, track2"
    ):
        report.write_gallery_report(gallery, queries=["nobody"])
    (tmp_path / "people" / "track2" / "000005.jpg").write_bytes(b"one more")
    with pytest.raises(InputError, match=r"track2 has 3 pictures, and track2 was 2 of them: embed their source again"):
        report.write_gallery_report(gallery)
    (tmp_path / "people").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"the pictures of track0 are no longer in "):
        report.write_gallery_report(gallery)
    assert not (tmp_path / "people.html").exists()


def test_a_file_that_is_not_a_page_is_left_alone_and_a_page_is_written_again(gallery, tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    with pytest.raises(InputError, match=r"mine.html exists already and is not a page of this library: name another"):
        report.write_gallery_report(gallery, mine)
    assert mine.read_text() == "<p>mine</p>"
    assert report.write_gallery_report(gallery) == report.write_gallery_report(gallery)


def test_a_page_of_an_earlier_version_is_replaced_by_that_of_the_same_gallery(gallery, tmp_path):
    page = tmp_path / "people.html"
    start = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="vreid-source" content="gallery {}">'
    page.write_text(start.format("other.parquet"))
    with pytest.raises(InputError, match=r"is the page of another source \(gallery other.parquet\)"):
        report.write_gallery_report(gallery)
    page.write_text(start.format("people.parquet"))
    assert report.write_gallery_report(gallery) == page
    assert "People in people.parquet" in page.read_text()


def test_a_page_is_replaced_by_that_of_the_same_gallery_only_wherever_both_are_moved(gallery, tmp_path):
    page = report.write_gallery_report(gallery)
    other = shutil.copy(gallery, tmp_path / "other.parquet")
    with pytest.raises(
        InputError, match=r"is the page of another source \(gallery people.parquet\): name another file"
    ):
        report.write_gallery_report(other, page)
    (tmp_path / "moved").mkdir()
    moved = [shutil.move(path, tmp_path / "moved" / path.name) for path in (gallery, page)]
    assert report.write_gallery_report(moved[0]) == moved[1]


def test_where_no_page_can_be_is_one_sentence_and_leaves_nothing(gallery, tmp_path):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "loop.html").symlink_to(tmp_path / "loop.html")
    before = sorted(tmp_path.iterdir())
    for name in ("folder.html", "loop.html", "missing/page.html"):
        with pytest.raises(InputError, match=f"(cannot write|the path) .*{name}"):
            report.write_gallery_report(gallery, tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_a_query_of_another_input_finds_its_namesake_and_one_of_the_same_input_does_not(gallery, tmp_path, capsys):
    opened = open_gallery(gallery)
    columns = {name: values.tolist() for name, values in opened.columns.items()}
    for source, first in (("people", "track1"), ("other.avi", "track0")):
        query = tmp_path / "query.parquet"
        table = make_table(opened.vectors, columns, {**opened.about, "input": source})
        pyarrow().parquet.write_table(table.slice(0, 1), query)
        assert command.main(["search", str(gallery), f"--query={query}", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["queries"]
        assert found["matches"][0]["tracklet_id"] == first


def test_a_page_that_shows_heads_does_not_replace_one_that_blurs_them(gallery):
    page = report.write_gallery_report(gallery, blur_faces=True)
    blurred = page.read_text()
    with pytest.raises(InputError, match="exists already with blurred heads, and the new page would show them: name "):
        report.write_gallery_report(gallery)
    assert page.read_text() == blurred
    assert report.write_gallery_report(gallery, blur_faces=True).read_text() == blurred
    shown = gallery.with_name("shown.html")
    assert "vreid-heads" not in report.write_gallery_report(gallery, shown).read_text()
    assert "vreid-heads" in report.write_gallery_report(gallery, shown, blur_faces=True).read_text()


def test_the_cameras_of_a_gallery_are_named(gallery):
    text = report.write_gallery_report(gallery).read_text()
    assert '<th scope="row">cameras</th><td>1, 2</td>' in text
    assert "`" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
