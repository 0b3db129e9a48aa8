"""Which threshold decides on what a query finds: one for an answer, and the one that is named."""

import html

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from .conftest import RED, serving, write_gallery

BLUE = {"gallery": "south.parquet", "tracklet": "track0002"}
REDS = {**RED, "other_gallery": "south.parquet", "other": "track0000"}
BLUES = {**BLUE, "other_gallery": "north.parquet", "other": "track0000"}


def calibrated(threshold):
    own = {
        "false_accept_rate": [0.01], "threshold": [threshold], "low": [threshold], "high": [threshold],
        "true_accept_rate": [None], "metric": "euclidean", "pairs": 4000, "tracklets": 90, "pieces": 0, "drift": 0.0,
    }  # fmt: skip
    return {"calibration": own, "open_set": None}


NONE = {"open_set": None, "measured_on": None}


def ask(tmp_path, red_picture, north, south):
    """Return what is said of a query of the north, one of the south and an upload: words, and pages as text."""
    said = []
    with serving(
        [write_gallery(tmp_path, "north", 1, **north), write_gallery(tmp_path, "south", 2, **south)]
    ) as server:
        upload = server.upload(red_picture).json["upload"]
        for pair, search, page, form in (
            (REDS, "/api/search", "/person", RED),
            (BLUES, "/api/search", "/person", BLUE),
            (None, f"/api/uploads/{upload}/search", f"/uploads/{upload}", {"upload": upload}),
        ):
            query = {} if pair is None else form
            words = [each["verdict"] for each in server.get(search, query).json["found"]]
            pages = [server.page(page, query).text, server.post("/export", form).text]
            if pair:
                compared = server.get("/api/compare", pair).json["verdict"]
                found = server.get(search, query).json["found"]
                other = (pair["other_gallery"], pair["other"])
                assert compared in [each["verdict"] for each in found if (each["gallery"], each["tracklet"]) == other]
                pages.append(server.page("/compare", pair).text)
            said.append((words, [html.unescape(text) for text in pages]))
    return said


def test_the_threshold_that_a_page_names_is_the_one_that_decides_in_every_gallery(tmp_path, red_picture):
    north, south, upload = ask(tmp_path, red_picture, calibrated(0.001), calibrated(9.0))
    assert set(north[0]) == {"beyond"}
    assert set(south[0]) == {"within"}
    assert set(upload[0]) == {"beyond"}
    for (_, pages), threshold in ((north, "0.001"), (south, "9"), (upload, "0.001")):
        assert f"within the threshold of {threshold}" in pages[0]
        assert f"up to {threshold}<" in pages[1]
    assert "beyond the threshold of 0.001." in north[1][2]
    assert "within the threshold of 9." in south[1][2]
    for text in north[1][:2] + south[1][:2]:
        assert "4000 pairs of people seen at once in the query's gallery" in text
    for text in upload[1]:
        assert "4000 pairs of people seen at once in the gallery with the smallest threshold" in text


@pytest.mark.parametrize("decided", ["north", "south"])
def test_a_page_that_says_that_nothing_is_decided_marks_nobody(tmp_path, red_picture, decided):
    about = {"north": NONE, "south": NONE, decided: calibrated(9.0)}
    north, south, upload = ask(tmp_path, red_picture, about["north"], about["south"])
    for name, (words, pages) in (("north", north), ("south", south), ("upload", upload)):
        assert set(words) == ({"within"} if name == decided else {""})
        for text in pages[:2]:
            assert ("does not say who is the same person" in text) == (name != decided)
            assert ("so that no threshold is known" in text) == (name != decided)
