"""Pages that show somebody who was forgotten go, also those in a folder of galleries, and no others."""

import pytest

pytest.importorskip("pyarrow")

from vreid_jax import forgetting
from vreid_jax.forgetting import Selection
from vreid_jax.search.gallery_files import open_files

PAGE = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="vreid-source" content="{}">'
DAY = "archive/camera=1/date=2026-05-04"


@pytest.fixture
def gallery(write_gallery, tmp_path):
    """The only file of the folder `archive`, two folders below it."""
    (tmp_path / DAY).mkdir(parents=True)
    return write_gallery(f"{DAY}/north.parquet", input="north.mp4")


def forget_in(folder):
    (part,) = open_files(folder).parts
    (outcome,) = forgetting.forget([folder], Selection(tracklets=[part.key("track1")]))
    return outcome


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("archive.html", "gallery archive"),
        ("search.html", "search uptown.parquet, archive"),
        ("archive/people.html", "gallery ."),
        ("archive/search.html", "search archive"),
        ("archive/search.html", "search north.parquet"),
        ("archive/camera=1.html", "gallery camera=1"),
        ("archive/camera=1/people.html", "gallery .."),
        (f"{DAY}/people.html", "gallery ../.."),
        (f"{DAY}/search.html", "search archive"),
    ],
)
def test_a_page_of_a_folder_of_galleries_goes_also_where_it_lies_in_it(gallery, tmp_path, place, source):
    page = tmp_path / place
    page.write_text(PAGE.format(source))
    assert str(page) in forget_in(tmp_path / "archive").removed.files
    assert not page.exists()


@pytest.mark.parametrize("source", ["gallery .", "gallery ..", "search camera=1"])
def test_a_page_of_a_folder_goes_also_if_only_the_file_is_named(gallery, source):
    page = gallery.with_name("people.html")
    page.write_text(PAGE.format(source))
    forgetting.forget([gallery], Selection(tracklets=["track1"]))
    assert not page.exists()


@pytest.mark.parametrize(
    "source", ["run .", "comparison ., other", "gallery camera=2", "gallery uptown", "search camera=2"]
)
def test_a_page_of_anything_else_stays(gallery, tmp_path, source):
    page = tmp_path / "archive" / "page.html"
    page.write_text(PAGE.format(source))
    forget_in(tmp_path / "archive")
    assert page.exists()
