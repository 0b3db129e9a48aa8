"""Pages of toy runs: what is on them, and that a browser shows and filters them without the network."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from vreid_jax import data, evaluation, report
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.report import ranked_lists, stored

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def workdir(finished, tmp_path_factory):
    return shutil.copytree(finished[0], tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def page(workdir):
    return report.write_report(workdir, num_queries=8)


class Elements(HTMLParser):
    """All elements as (name, attributes), and whether every one that was opened was closed."""

    VOID = ("meta", "link", "img", "br", "line", "polyline")

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:  # a browser writes them out with an end
            assert self.open.pop() == tag

    def all(self, tag, **wanted):
        return [a for name, a in self.found if name == tag and all(a.get(k) == v for k, v in wanted.items())]


def test_the_page_is_one_file_that_loads_nothing(page):
    text = page.read_text()
    elements = Elements(text)
    addresses = [a[key] for _, a in elements.found for key in ("src", "href") if key in a]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "default-src 'none'" in elements.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert not re.search(r"https?://", text)
    assert elements.all("meta", name="viewport")


def test_the_page_has_the_scores_of_the_results_with_protocol_and_counts(page, workdir):
    text = page.read_text()
    results = json.loads((workdir / "results.json").read_text())
    for scores in (results["protocols"]["walkers"], results["streams"]["temporal"]["walkers"]):
        cells = "".join(f"<td>{100 * scores[key]:.1f}</td>" for key in ("rank1", "rank5", "rank10", "rank20", "mAP"))
        assert cells in text
    assert '<p class="caption">Protocol walkers</p>' in text
    assert "equal error rate" in text
    assert "stored features" not in text  # the lists are those of the scores


def test_lists_mark_what_is_right_by_identity_and_camera(page, workdir, tiny_builder):
    test = evaluation.make_test_set(*(data.TrackletSource(tiny_builder, split) for split in ("query", "gallery")))
    run = stored.read_run(workdir)
    distances = stored.stored_distances(run, test)
    lists = ranked_lists.ranked_lists(test, distances, "walkers", num_queries=8, depth=5)
    assert lists.ranking.mAP == pytest.approx(run.results["protocols"]["walkers"]["mAP"], rel=1e-6)
    tracklets = test.tracklets
    chosen = [*lists.worst, *lists.sample]
    assert len({one.row for one in chosen}) == 8
    assert [one.first_match for one in lists.worst] == sorted((one.first_match for one in lists.worst), reverse=True)
    for one in chosen:
        pid, camid = tracklets.pids[one.row], tracklets.camids[one.row]
        expected = [
            row
            for row in np.argsort(distances(np.array([one.row]), np.arange(len(tracklets)))[0], kind="stable")
            if not (tracklets.pids[row] == pid and tracklets.camids[row] == camid)
        ]
        assert [item.row for item in one.found] == expected[:5]
        assert [item.right for item in one.found] == [tracklets.pids[row] == pid for row in expected[:5]]
        rank = [tracklets.pids[row] == pid for row in expected].index(True)
        assert one.first_match == rank + 1
        assert (one.missed is None) == (rank < 5)
        if one.missed:
            assert one.missed.row == expected[rank]


def test_lists_of_a_headlined_stream_are_of_its_features_alone(workdir, tmp_path, tiny_builder):
    test = evaluation.make_test_set(*(data.TrackletSource(tiny_builder, split) for split in ("query", "gallery")))
    run = stored.read_run(workdir)
    config = run.config.copy_and_resolve_references()
    config.evaluation.headline = "temporal"
    rows = np.arange(len(test.tracklets))
    with np.load(workdir / "features" / "temporal.npz") as table:
        expected = evaluation.FeatureDistances(table["features"], "euclidean")(rows, rows)
    found = stored.stored_distances(dataclasses.replace(run, config=config), test)(rows, rows)
    np.testing.assert_array_equal(found, expected)


def test_every_list_is_on_the_page_with_its_pictures_and_can_be_reached_by_keyboard(page):
    elements = Elements(page.read_text())
    articles = elements.all("article")
    assert len(articles) == 8
    assert {a["data-kind"] for a in articles} <= {"right", "wrong", "none"}
    items = [a for a in elements.all("li") if a.get("class", "").startswith("item")]
    assert all(a["tabindex"] == "0" for a in items)
    pictures = elements.all("img")
    assert len(pictures) == len(items)
    assert all(a["src"].startswith("data:image/jpeg;base64,") and a["alt"] for a in pictures)
    assert len(elements.all("button")) == 4


def test_runs_are_compared_in_tables_of_one_dataset_and_protocol(workdir, tmp_path):
    other = shutil.copytree(workdir, tmp_path / "other")
    results = json.loads((other / "results.json").read_text())
    results["protocols"]["walkers"]["rank1"] = 0.123
    (other / "results.json").write_text(json.dumps(results))
    text = report.write_comparison([workdir, other], tmp_path / "both.html").read_text()
    elements = Elements(text)
    assert "<td>12.3</td>" in text
    assert "walkers/tiny, split 0, protocol walkers" in text
    assert len(elements.all("table")) == 1
    head = re.findall(r'<th scope="col">(.*?)</th>', text)
    assert (head[:2], head[-3:]) == (["run", "rank-1"], ["system", "seed", "step"])
    for change in ({"dataset_config": "walkers/small"}, {"split": 1}):
        (other / "results.json").write_text(json.dumps(results | change))
        text = report.write_comparison([workdir, other], tmp_path / "both.html").read_text()
        assert len(Elements(text).all("table")) == 2


def test_runs_on_two_folders_are_in_two_tables(workdir, tmp_path):
    runs = []
    for name, people in (("one", "north"), ("again", "north"), ("other", "south")):
        runs.append(shutil.copytree(workdir, tmp_path / name))
        for file, change in (
            ("results.json", {"dataset": "folder", "dataset_config": "folder"}),
            ("config.json", {"dataset": "folder"}),
        ):
            content = json.loads((runs[-1] / file).read_text()) | change
            if file == "config.json":
                content["data"] |= {"name": "folder", "path": str(tmp_path / people)}
            (runs[-1] / file).write_text(json.dumps(content))
    text = report.write_comparison(runs, tmp_path / "all.html").read_text()
    assert len(Elements(text).all("table")) == 2
    assert f"{tmp_path / 'south'}, split 0" in text


def test_what_cannot_be_reported_is_one_sentence(capsys, workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    (copy / "features" / "temporal.npz").write_bytes(b"PK cut short")
    with pytest.raises(InputError, match=r"temporal.npz cannot be read \(.*\): `vreid evaluate"):
        report.write_report(copy)
    (copy / "features" / "temporal.npz").unlink()
    with pytest.raises(InputError, match=r"temporal.npz is missing: `vreid evaluate"):
        report.write_report(copy)
    (copy / "results.json").unlink()
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        ([copy], "was not evaluated yet"),
        ([tmp_path / "empty"], "is not the workdir of a run"),
        ([workdir, "--out=page.pdf"], "has to end in .html"),
        ([workdir, "--queries=0"], "at least 1"),
        ([workdir, f"--out={tmp_path / 'no' / 'page.html'}"], "cannot write "),
        ([workdir, workdir], "is named twice"),
        ([workdir, tmp_path / ".." / workdir.parent.name / "run"], "is named twice"),
    ]:
        assert command.main(["report", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (None, "it is null instead of an object"),
        ([], r"it is \[\] instead of an object"),
        ({"protocols": {}}, "it has no protocols"),
        ({"protocols": 5}, "protocols is 5 instead of an object"),
        ({"protocols": {"walkers": {}}}, "protocols.walkers lacks num_queries"),
        ({"streams": {"spatial": 1}}, "streams.spatial is 1 instead of an object"),
        ({"twins": {"system": {"rank1": "a", "num_pairs": 1}}}, "twins.system.rank1 is .a. instead of a finite number"),
        ({"open_set": {"protocol": "walkers"}}, "open_set lacks equal_error_rate"),
        ({"step": None}, "step is null instead of a whole number"),
        ({"split": "all"}, "it lacks splits"),
    ],
)
def test_damaged_results_are_one_sentence(workdir, tmp_path, changes, words):
    copy = shutil.copytree(workdir, tmp_path / "run")
    whole = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps(whole | changes if isinstance(changes, dict) else changes))
    for write in (report.write_report, lambda folder: report.write_comparison([workdir, folder], tmp_path / "c.html")):
        with pytest.raises(
            InputError, match=rf"results\.json is damaged: {words}; `vreid evaluate .*run` writes it again"
        ):
            write(copy)


def test_thresholds_without_their_rates_are_damage(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    results = json.loads((copy / "results.json").read_text())
    results["open_set"]["threshold"].pop()
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="is damaged: open_set has more thresholds than rates, or fewer"):
        report.write_report(copy)


def test_feature_tables_of_another_kind_or_with_a_flipped_bit_are_one_sentence(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    file = copy / "features" / "temporal.npz"
    whole = file.read_bytes()
    with np.load(file) as table:
        arrays = dict(table)
    for features in (
        arrays["features"][:-1],
        arrays["features"] > 0,
        arrays["features"][:, 0],
        arrays["features"] * np.nan,
    ):
        np.savez(file, **{**arrays, "features": features})
        with pytest.raises(InputError, match=r"temporal\.npz cannot be read \(it is not a table of finite features"):
            stored._read_features(file)
    rng, ids, damaged = np.random.default_rng(0), arrays["tracklet_ids"].tolist(), 0
    for _ in range(200):
        content = bytearray(whole)
        place = int(rng.integers(8 * len(content)))
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        try:
            found, features = stored._read_features(file)
        except InputError:
            damaged += 1
        else:
            assert found == ids
            np.testing.assert_array_equal(features, arrays["features"])
    assert damaged > 100


def test_a_page_of_a_run_does_not_replace_that_of_a_comparison(workdir, tmp_path):
    other = shutil.copytree(workdir, tmp_path / "other")
    page = report.write_comparison([workdir, other], tmp_path / "page.html")
    before = page.read_text()
    with pytest.raises(InputError, match=r"is the page of another source \(comparison .*other\)"):
        report.write_report(workdir, page, num_queries=1)
    assert page.read_text() == before
    assert report.write_comparison([workdir, other], page) == page


def test_runs_of_the_same_name_are_all_in_a_comparison(workdir, tmp_path, monkeypatch):
    for name in ("a/run", "run", "b/run"):
        shutil.copytree(workdir, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    text = report.write_comparison(["a/run", "run", "b/run"], "page.html").read_text()
    assert "3 runs compared" in text


def test_names_of_runs_stay_text_and_a_page_of_quoted_names_is_replaced(workdir, tmp_path):
    other = shutil.copytree(workdir, tmp_path / """o'<b>&amp;"x""")
    page = report.write_comparison([workdir, other], tmp_path / "page.html")
    assert not Elements(page.read_text()).all("b")
    assert other.name in html.unescape(page.read_text())
    assert report.write_comparison([workdir, other], page) == page


def test_the_command_says_where_the_page_is(capsys, workdir, tmp_path):
    out = tmp_path / "page.html"
    assert command.main(["report", str(workdir), f"--out={out}", "--queries=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "bytes": out.stat().st_size}


def browse(page, fragment, folder):
    """The document after its script has run, and what the browser's console said."""
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={folder}", "--virtual-time-budget=3000", "--dump-dom", f"file://{page.resolve()}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    return Elements(done.stdout), [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_without_errors_and_filters_the_lists(page, tmp_path):
    probe = tmp_path / "probe.html"
    check = "<script>for (const i of document.images) i.dataset.loaded = String(i.complete && i.naturalWidth === 384);</script>"
    probe.write_text(page.read_text().replace("</body>", check + "</body>"))
    elements, said = browse(probe, "", tmp_path / "profile")
    assert said == []
    assert {a["data-loaded"] for a in elements.all("img")} == {"true"}
    assert sum("hidden" in a for a in elements.all("article")) == 0
    assert elements.all("button", **{"data-show": "all"})[0]["aria-pressed"] == "true"
    elements, said = browse(probe, "#show=wrong,", tmp_path / "profile")
    assert said == []
    kinds = [a["data-kind"] for a in elements.all("article") if "hidden" not in a]
    assert kinds == ["wrong"] * sum(a["data-kind"] == "wrong" for a in elements.all("article"))
    camera = elements.all("article")[0]["data-camera"]
    elements, _ = browse(probe, f"#show=all,{camera}", tmp_path / "profile")
    assert {a["data-camera"] for a in elements.all("article") if "hidden" not in a} == {camera}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_on_a_phone_nothing_but_the_boxes_is_wider_than_the_screen_and_texts_of_plots_can_be_read(page, tmp_path):
    frame = tmp_path / "frame.html"
    script = """<script>
    const texts = [...document.querySelectorAll("svg text")]
      .map(text => text.getScreenCTM()).map(at => 12 * Math.hypot(at.a, at.b));
    const cut = [...document.querySelectorAll(".caption, h3")].some(each => each.scrollWidth > each.clientWidth);
    const [, , , , , map] = document.querySelectorAll("thead th");
    parent.document.body.dataset.said = JSON.stringify([document.documentElement.scrollWidth, Math.min(...texts), cut,
      map.textContent, map.getBoundingClientRect().right]);
    </script>"""
    inside = html.escape(page.read_text().replace("</body>", script + "</body>"))
    frame.write_text(f'<!doctype html><body><iframe width="390" height="800" srcdoc="{inside}"></iframe></body>')
    elements, _ = browse(frame, "", tmp_path / "profile")
    width, smallest, cut, fifth, right = json.loads(elements.all("body")[0]["data-said"])
    assert width <= 390
    assert smallest >= 11
    assert not cut
    assert (fifth, right <= 390) == ("mAP", True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_keys_move_along_a_list_and_buttons_are_pressed(page, tmp_path):
    """What a keyboard does: focus and arrow keys on pictures; a button that has the focus is clicked by Enter."""
    probe = tmp_path / "probe.html"
    script = """<script>
    const list = document.querySelector(".query .row").children, said = [];
    const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    const place = () => said.push([...list].indexOf(document.activeElement));
    list[0].focus(); place();
    for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"]) { press(key); place(); }
    document.querySelector("button[data-show=wrong]").focus(); document.activeElement.click();
    said.push(document.activeElement.getAttribute("aria-pressed"), location.hash);
    document.body.dataset.said = said.join(" ");
    </script>"""
    probe.write_text(page.read_text().replace("</body>", script + "</body>"))
    elements, said = browse(probe, "", tmp_path / "profile")
    assert said == []
    assert elements.all("body")[0]["data-said"] == "0 1 2 1 0 0 true #show=wrong,"
