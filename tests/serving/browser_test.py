"""The clicks of a person in a real browser: by the mouse, by the keyboard alone, and by a finger on a phone."""

import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax.linking.corrections import read_corrections
from vreid_jax.report.page import stated_source

from .browser import CHROMIUM, Browser
from .conftest import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def server(town):
    galleries, linked = town
    with serving(galleries, identities=str(linked)) as opened:
        yield opened


@pytest.fixture
def browser(tmp_path):
    """Open a browser; it has to have nothing to say at the end."""
    opened = []

    def make(**options):
        opened.append(Browser(tmp_path / f"profile{len(opened)}", **options))
        return opened[-1]

    yield make
    for each in opened:
        said = each.said
        each.close()
        assert said == []


LOADED = "[...document.images].every(picture => picture.loading === 'lazy' || picture.naturalWidth > 0)"
SOME_LOADED = "[...document.querySelectorAll('.item img')].slice(0, 3).every(picture => picture.naturalWidth >= 384)"


def test_a_person_browses_filters_searches_compares_and_plays(server, browser):
    page = browser()
    page.open(server.address)
    page.wait(SOME_LOADED)
    assert page.ask("document.querySelectorAll('.cards .item').length") == 10
    page.ask("document.querySelector('select[name=camera]').value = '2'")
    page.click("form.filters button", loads=True)
    assert page.ask("document.querySelectorAll('.cards .item').length") == 5
    page.click(".cards .item", loads=True)
    assert page.ask("document.querySelector('h1').textContent") == "track0000"
    assert page.ask("document.querySelector('.ranked .item').classList.contains('right')")
    assert "1 of 9 within the threshold" in page.ask("document.querySelector('[role=status]').textContent")
    x, y = page.place(".ranked .item")
    page._mouse("mouseMoved", x, y)
    page.wait("getComputedStyle(document.querySelector('.ranked .item img')).animationName === 'walk'")
    page.click("input[name=other_cameras]")
    page.click("section form.filters button", loads=True)
    assert page.ask("document.querySelectorAll('.ranked .item').length") == 5
    page.click(".ranked a.small", loads=True)
    assert page.ask("document.querySelector('h1').textContent") == "Side by side"
    page.click("#play")
    page.wait("getComputedStyle(document.querySelector('.pair img')).animationName === 'side'")
    page.click("#play")
    page.ask("document.querySelector('#frame').focus()")
    page.press("ArrowRight")
    page.wait("document.querySelector('.pair img').style.transform === 'translateX(-12.5%)'")
    page.click("button[value=different]", loads=True)
    assert "Noted: two people" in page.ask("document.querySelector('main').textContent")
    (correction,) = read_corrections(server.service.options.identities)
    assert correction.kind == "different"


def test_a_person_uploads_a_picture_and_draws_where_somebody_is(server, browser, tmp_path):
    import cv2
    import numpy as np

    picture = np.full((200, 400, 3), 90, np.uint8)
    picture[:, 300:380] = (60, 180, 40)  # green
    file = tmp_path / "street.png"
    cv2.imwrite(str(file), picture)
    page = browser()
    page.open(f"{server.address}/upload")
    page.choose_file("#file", file)
    page.wait("document.querySelector('#preview img')?.naturalWidth === 400")
    page.place("#preview")
    left, top, width, height = page.ask(
        "(b => [b.x, b.y, b.width, b.height])(document.querySelector('#preview').getBoundingClientRect())"
    )
    page.drag((left + 0.76 * width, top + 0.05 * height), (left + 0.94 * width, top + 0.95 * height))
    assert abs(float(page.ask("document.querySelector('[name=left]').value")) - 76) < 2
    assert abs(float(page.ask("document.querySelector('[name=width]').value")) - 18) < 2
    page.click("form.upload button", loads=True)
    assert page.ask("document.querySelector('h1').textContent") == "An upload"
    assert "track0001" in page.ask("document.querySelector('.ranked .item').title")
    page.open(f"{server.address}/upload")
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    page.choose_file("#file", text)
    page.wait("document.querySelector('#preview').hidden")  # it cannot be shown
    page.click("form.upload button", loads=True)
    assert "neither a picture" in page.ask("document.querySelector('[role=alert]').textContent")
    page.said[:] = [line for line in page.said if "415" not in line]


def test_a_person_exports_a_page_that_works_without_the_server(server, browser, tmp_path):
    page = browser()
    page.downloads_to(tmp_path / "downloads")
    page.open(f"{server.address}/person?gallery=north.parquet&tracklet=track0000")
    page.click("form.export button")
    until = time.monotonic() + 30
    while not (files := list((tmp_path / "downloads").glob("*.html"))):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert stated_source(files[0].read_text()) == "search north.parquet, south.parquet"
    page.open(f"file://{files[0]}")
    assert page.ask(LOADED.replace("picture.loading === 'lazy' || ", ""))
    assert page.ask("document.querySelectorAll('.item').length") == 10


def test_a_person_names_splits_and_merges(server, browser):
    page = browser()
    page.open(f"{server.address}/identities")
    page.click("h2.name a", loads=True)
    page.click("input[name=name]")
    page.type("Ann")
    page.press("Enter", loads=True)
    assert page.ask("document.querySelector('h1').textContent") == "Ann"
    page.click("input[type=checkbox]")
    page.click("form[aria-label=split] button", loads=True)
    assert "waits for the next" in page.ask("document.querySelector('.caution').textContent")
    page.click("form[aria-label=merge] button", loads=True)
    assert [each.kind for each in read_corrections(server.service.options.identities)] == ["name", "different", "same"]
    page.click("svg a", loads=True)
    assert page.ask("location.pathname") == "/person"


def test_the_keyboard_alone_does_it_all(server, browser):
    page = browser()
    page.open(server.address)
    page.press("Tab")
    assert page.focused() == "a Skip to the content"
    assert page.ask("document.activeElement.getBoundingClientRect().left >= 0")
    page.press("Enter")
    page.tab_to("track0000")
    page.press("ArrowRight")
    assert "track0001" in page.focused()
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", loads=True)
    assert page.ask("document.querySelector('h1').textContent") == "track0001"
    page.tab_to("compare")
    page.press("Enter", loads=True)
    page.tab_to("Play both")
    page.press(" ")
    assert page.ask("document.querySelector('#play').getAttribute('aria-pressed')") == "true"
    page.tab_to("kind")
    page.press("Enter", loads=True)
    assert "Noted: one person" in page.ask("document.querySelector('main').textContent")
    unnamed = "[...document.querySelectorAll('a, button, input:not([type=hidden]), select')].filter(e => !("
    unnamed += "e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label'))).map(e => e.outerHTML)"
    for path in ("/", "/upload", "/identities/1", "/about", "/person?gallery=north.parquet&tracklet=track0000"):
        page.open(f"{server.address}{path}")
        assert page.ask(unnamed) == []
        assert page.ask("document.querySelectorAll('h1').length") == 1
        assert page.ask("[...document.images].every(picture => picture.alt)")


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_finds_its_way(server, browser, dark):
    page = browser(size=(360, 740), phone=True, dark=dark)
    for path in (
        "/", "/person?gallery=north.parquet&tracklet=track0000", "/identities", "/identities/1", "/upload", "/about",
        "/compare?gallery=north.parquet&tracklet=track0000&other_gallery=south.parquet&other=track0000",
    ):  # fmt: skip
        page.open(f"{server.address}{path}")
        assert page.ask("document.documentElement.scrollWidth") <= 360, path
        small = "[...document.querySelectorAll('button, .top a, select')].filter(e => e.offsetParent && e.offsetHeight < 40)"
        assert page.ask(f"{small}.length") == 0, path
    page.open(server.address)
    page.wait("document.querySelectorAll('.item.playing').length > 0")  # there is no pointer to hover with
    page.tap(".cards .item", loads=True)
    assert page.ask("document.querySelector('details.fold').open") is False
    page.tap("summary")
    page.wait("document.querySelector('details.fold').open")
    page.tap("section form.filters button", loads=True)
    assert page.ask("location.search").count("k=20") == 1


def test_a_person_signs_in_with_the_token(town, browser):
    with serving(town[0], token="a-token-of-the-tests") as server:
        page = browser()
        page.open(server.address)
        assert page.ask("location.pathname") == "/sign-in"
        page.click("#name")
        page.type("Ann")
        page.click("#token")
        page.type("not-the-right-token")
        page.press("Enter", loads=True)
        assert "not the token" in page.ask("document.querySelector('[role=alert]').textContent")
        page.said.clear()  # the status
        page.click("#name")
        page.type("Ann")
        page.click("#token")
        page.type("a-token-of-the-tests")
        page.press("Enter", loads=True)
        assert page.ask("location.pathname") == "/"
        page.click("header form button", loads=True)
        assert page.ask("location.pathname") == "/sign-in"
        page.said[:] = [line for line in page.said if "401" not in line]  # of pictures that were still to come
