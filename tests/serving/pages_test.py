"""The pages and the API: what is browsed, found, compared, linked, corrected, exported and logged."""

import html
import json
import os
import re
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax import forgetting
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.linking.corrections import read_corrections
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.report.page import stated_source
from vreid_jax.search.gallery import last_part
from vreid_jax.serving import address, pages
from vreid_jax.serving.people import open_people

from .conftest import RED, serving, write_gallery, write_linked

PAGES = [
    "/", "/person?gallery=north.parquet&tracklet=track0000", "/identities", "/identities/1", "/upload", "/about",
    "/compare?gallery=north.parquet&tracklet=track0000&other_gallery=south.parquet&other=track0000",
]  # fmt: skip


def form_of(server, number, action, other=0):
    """Return what the page of an identity sends to name it, or to merge it with another."""
    text = server.page(f"/identities/{number}").text
    (digest,) = re.findall(rf'name="action" value="{action}"><input type="hidden" name="digest" value="([^"]+)">', text)
    return {
        "action": action,
        "digest": digest,
        "other": next(iter(re.findall(f'<option value="({other} [^"]+)">', text)), ""),
    }


def test_people_are_browsed_by_gallery_camera_and_time(served):
    def names(**filters):
        return [
            (row["gallery"][:5], row["tracklet"]) for row in served.get("/api/tracklets", filters).json["tracklets"]
        ]

    assert len(names()) == 10
    assert names(in_gallery="south.parquet")[0] == ("south", "track0000")
    assert {gallery for gallery, _ in names(camera=2)} == {"south"}
    assert names(after=3.5, before=6.5, camera=1) == [("north", "track0001"), ("north", "track0002")]
    at = {"after": "2026-05-04T08:59:59+00:00", "before": "2026-05-04T09:00:02.500000+00:00"}
    assert names(**at) == [("south", "track0000")]
    assert served.get("/api/tracklets", {"limit": 3, "offset": 8}).json["total"] == 10


def test_the_nearest_are_found_and_named_by_the_threshold(served):
    found = served.get("/api/search", {**RED, "k": 3}).json["found"]
    assert [(each["gallery"], each["tracklet"], each["verdict"]) for each in found[:1]] == [
        ("south.parquet", "track0000", "within")
    ]
    assert found[0]["distance"] < 0.1
    assert [each["verdict"] for each in found[1:]] == ["beyond", "beyond"]
    assert found[0]["begins"] is not None
    only = served.get("/api/search", {**RED, "other_cameras": True, "max_distance": 0.2}).json["found"]
    assert [each["tracklet"] for each in only] == ["track0000"]


def test_times_are_in_the_zone_of_the_recordings_wherever_the_server_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        start = "2026-05-04T08:00:00+02:00"
        galleries = [
            write_gallery(tmp_path, name, camera, recorded_at=start) for camera, name in ((1, "north"), (2, "south"))
        ]
        with serving(galleries, identities=str(write_linked(galleries))) as opened:
            filters = {"after": "2026-05-04T08:00:12", "in_gallery": "north.parquet"}
            (found,) = opened.get("/api/tracklets", filters).json["tracklets"]
            assert (found["tracklet"], found["begins"]) == ("track0004", "2026-05-04T08:00:12+02:00")
            text = html.unescape(opened.page("/", filters).text)
            assert "2026-05-04 08:00:12 UTC+02:00" in text
            assert "From (UTC+02:00)" in text
            assert "of day, in UTC+02:00<" in opened.page("/about").text
            assert ">08:00:00 UTC+02:00</text>" in html.unescape(opened.page("/identities/1").text)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_of_winter_and_summer_are_in_utc_also_in_one_folder(tmp_path):
    folder = tmp_path / "town"
    folder.mkdir()
    files = [
        write_gallery(folder, name, 1, recorded_at=moment)
        for name, moment in (("winter", "2026-02-04T08:00:00+01:00"), ("summer", "2026-07-04T08:00:00+02:00"))
    ]
    for given in ([folder], files):
        people = open_people(given)
        begins = sorted(str(people.of(place)["begins"]) for place in (0, 5))
        assert begins == ["2026-02-04T07:00:00+00:00", "2026-07-04T06:00:00+00:00"]


def test_a_form_that_was_not_filled_in_restricts_nothing(served):
    empty = dict.fromkeys(("in_gallery", "camera", "after", "before", "k", "max_distance", "false_accept_rate"), "")
    assert len(served.get("/api/search", {**RED, **empty, "other_cameras": ""}).json["found"]) == 9
    assert served.page("/person", {**RED, **empty}).status == 200
    assert served.page("/", empty).status == 200


def test_who_was_seen_at_the_same_time_is_somebody_else(tmp_path):
    with serving([write_gallery(tmp_path, "one", 1, people=[0, 0 + 1])]) as server:
        people = server.service.people()
        people.columns["start_seconds"][:] = 0.0
        found = server.get("/api/search", {"gallery": "one.parquet", "tracklet": "track0000"}).json["found"]
        assert [each["verdict"] for each in found] == ["same time"]


def test_where_the_usual_rate_was_not_measured_the_smallest_that_was_decides(tmp_path):
    coarse = {
        "protocol": "toy", "metric": "euclidean", "false_accept_rate": [0.05, 0.1], "threshold": [0.2, 2.0],
        "true_accept_rate": [0.9, 1.0],
    }  # fmt: skip
    with serving([write_gallery(tmp_path, "north", 1, open_set=coarse)]) as server:
        assert "5 % of pairs of two different people are within it" in server.page("/person", RED).text
        assert {each["verdict"] for each in server.get("/api/search", RED).json["found"]} == {"beyond"}
        loose = server.get("/api/search", {**RED, "false_accept_rate": 0.1}).json["found"]
        assert {each["verdict"] for each in loose} == {"within"}
        strict = server.get("/api/search", {**RED, "false_accept_rate": 0.01})
        assert (strict.status, strict.json["error"]) == (
            400, "No threshold was measured for a false-accept rate of 0.01; the measured rates are 0.05, 0.1."
        )  # fmt: skip


def test_every_page_is_whole_and_names_nothing_of_the_machine(served):
    folder = os.path.dirname(served.service.audit.path)
    for path in PAGES:
        answer = served.page(path)
        assert answer.status == 200
        assert "</html>" in answer.text
        for secret in (folder, "/secret", ".frames", "tmp"):
            assert secret not in answer.text
    for path in ("/api/about", "/api/tracklets", "/api/identities", "/api/openapi.json"):
        assert folder not in served.get(path).text
        assert "/secret" not in served.get(path).text


def test_the_api_describes_itself(served):
    paths = served.get("/api/openapi.json").json["paths"]
    assert {"/api/search", "/api/tracklets", "/api/uploads", "/api/corrections", "/api/identities"} <= set(paths)
    assert not [path for path in paths if not path.startswith("/api/")]
    for path in ("/docs", "/redoc"):
        assert served.get(path).status == 404


def test_a_picture_and_a_video_are_queries(served, red_picture, red_video):
    for content in (red_picture, red_video):
        answer = served.upload(content)
        assert answer.status == 201
        name = answer.json["upload"]
        found = served.get(f"/api/uploads/{name}/search", {"k": 2}).json["found"]
        assert {each["tracklet"] for each in found} == {"track0000"}
        assert served.get(f"/api/uploads/{name}/picture").body.startswith(b"\xff\xd8")
        assert "An upload" in served.page(f"/uploads/{name}").text
    assert served.get("/api/uploads/nothing/search").status == 404


def test_a_part_of_a_picture_is_a_query(served):
    import cv2
    import numpy as np

    two = np.full((96, 96, 3), 90, np.uint8)
    two[:, :48], two[:, 48:] = (40, 40, 200), (60, 180, 40)  # red beside green
    content = cv2.imencode(".png", two)[1].tobytes()
    for left, wanted in ((0, "track0000"), (0.5, "track0001")):
        name = served.upload(content, fields={"left": left, "width": 0.5}).json["upload"]
        assert served.get(f"/api/uploads/{name}/search", {"k": 1}).json["found"][0]["tracklet"] == wanted
    assert served.upload(content, fields={"left": 2}).status == 400


def test_identities_are_shown_named_merged_and_split(town):
    galleries, linked = town
    os.utime(linked, (0, 0))
    with serving(galleries, identities=str(linked)) as server:
        assert [each["identity"] for each in server.get("/api/identities").json] == [1, 2, 3, 4]
        assert server.post("/identities/1", {**form_of(server, 1, "name"), "name": "Ann <3"}).status == 303
        text = server.page("/identities/1").text
        assert "<h1>Ann &lt;3</h1>" in text
        assert text.count('class="bar"') == 2  # of the timeline
        assert server.post("/identities/1", form_of(server, 1, "merge", 2)).status == 303
        assert server.post("/identities/3", {"action": "split", "tracklet": ["south.parquet/track0002"]}).status == 303
        text = server.page("/identities/3").text
        assert "1 correction of this person waits for the next" in text
        assert "split off: track0002 of south.parquet" in text
        pair = {**RED, "other_gallery": "south.parquet", "other": "track0001", "kind": "different"}
        assert server.post("/corrections", pair).status == 303
        body = json.dumps(
            {"kind": "same", "tracklets": [["north.parquet", "track0000"], ["south.parquet", "track0000"]]}
        )
        json_headers = {"content_type": "application/json", "x_csrf_token": server.csrf()}
        assert server.ask("POST", "/api/corrections", body, **json_headers).status == 201
        kinds = [each.kind for each in read_corrections(linked)]
        assert kinds == ["name", "same", "different", "different", "same"]
        assert [line["kind"] for line in server.logged if line["what"] == "correct"] == kinds
        both = ["north.parquet/track0001", "south.parquet/track0001"]
        for wrong in (
            {"action": "split"},
            {"action": "split", "tracklet": both},
            {"action": "grow"},
            {"action": "merge", "other": "x"},
        ):
            assert server.post("/identities/2", wrong).status == 400
        nothing = json.dumps({"kind": "same", "tracklets": [["north.parquet", "track0000"]]})
        assert server.ask("POST", "/api/corrections", nothing, **json_headers).status == 400
        nobody = json.dumps({"kind": "name", "tracklets": [["north.parquet", "track0004"]], "name": "Ann"})
        answer = server.ask("POST", "/api/corrections", nobody, **json_headers)
        assert (answer.status, answer.json["error"][:31]) == (409, "The tracklets are of nobody yet")
        broken = server.ask("POST", "/api/corrections", "{", **json_headers)
        assert (broken.status, broken.json["error"]) == (400, "The body of the request is not JSON.")
        assert sum(line["what"] == "correct" for line in server.logged) == 5
        assert len(read_corrections(linked)) == 5


def test_who_is_split_off_is_who_was_ticked_also_when_the_identity_has_grown_or_shrunk(town):
    galleries, linked = town
    with serving(galleries, identities=str(linked)) as server:
        boxes = re.findall(r'type="checkbox" name="tracklet" value="([^"]+)"', server.page("/identities/1").text)
        form, shown = {"action": "split", "tracklet": boxes[1]}, form_of(server, 1, "split")
        table = read_identities(linked)
        for row, identity in ((4, 1), (5, 2)):  # the last of the north, who was unknown; the first of the south
            numbers = table.columns["identity"].copy()
            numbers[row] = identity
            write_identities(Identities({**table.columns, "identity": numbers}, table.about), linked)
            assert "reload" in server.post("/identities/1", {**shown, "tracklet": boxes[1]}).json["error"]
            answer = server.post("/identities/1", form)  # of a program
            assert answer.status == (303 if row == 4 else 409)
        assert "not of this identity any more" in answer.text
        (noted,) = read_corrections(linked)
        assert noted.tracklets == (("south.parquet", "track0000"),)
        assert noted.others == (("north.parquet", "track0000"), ("north.parquet", "track0004"))


def test_who_is_named_or_merged_is_who_was_shown_also_when_people_are_linked_anew(town):
    galleries, linked = town
    with serving(galleries, identities=str(linked)) as server:
        name, merge, third = form_of(server, 1, "name"), form_of(server, 1, "merge", 2), form_of(server, 3, "merge", 4)
        table = read_identities(linked)
        numbers = np.array([2, 1, 3, 4, 0] * 2)  # red and green have changed their numbers
        write_identities(Identities({**table.columns, "identity": numbers}, table.about), linked)
        for form in ({**name, "name": "Ann"}, merge, {**form_of(server, 1, "merge"), "other": merge["other"]}):
            answer = server.post("/identities/1", form)
            assert answer.status == 409
            assert "The number is of other tracklets now than on the page: reload it" in answer.text
        assert not read_corrections(linked)
        assert server.post("/identities/3", third).status == 303  # they are who they were
        assert server.post("/identities/1", {**name, "digest": "", "name": "Ann"}).status == 303  # of a program
        assert len(read_corrections(linked)) == 2


def test_somebody_beyond_the_end_of_the_list_is_merged_by_number(town, monkeypatch):
    galleries, linked = town
    monkeypatch.setattr(pages, "MOST_LISTED", 1)
    with serving(galleries, identities=str(linked)) as server:
        offered = r'<option value="(\d+) [0-9a-f]+"( selected)?>'
        text = server.page("/identities/1").text
        assert re.findall(offered, text) == [("2", "")]
        assert "2 more people are not in this list" in text
        text = server.page("/identities/1", {"other": 4}).text
        assert re.findall(offered, text) == [("2", ""), ("4", " selected")]
        assert "1 more person is not in this list" in text
        digest = re.findall(r'name="digest" value="([^"]+)"', text)[0]
        other = re.findall(r'"(4 [^"]+)" selected', text)[0]
        assert server.post("/identities/1", {"action": "merge", "digest": digest, "other": other}).status == 303
        assert {tracklet for _, tracklet in read_corrections(linked)[0].tracklets} == {"track0000", "track0003"}
        assert server.page("/identities/1", {"other": 9}).status == 404
        monkeypatch.undo()
        assert "not in this list" not in server.page("/identities/1").text


def test_people_who_are_merged_are_one_whatever_was_split_before(town):
    galleries, linked = town
    table = read_identities(linked)
    numbers = np.where(np.arange(10) % 5 < 2, 1, table.columns["identity"])
    write_identities(Identities({**table.columns, "identity": numbers}, table.about), linked)

    def link():
        assert command.main(["link", f"--into={linked}", "--threshold=0.2", "--quiet"]) == 0
        return read_identities(linked).columns["identity"].reshape(2, 5)[:, :3].tolist()

    with serving(galleries, identities=str(linked)) as server:
        form = {"action": "split"}
        south = [f"south.parquet/track000{number}" for number in (0, 1)]
        assert server.post("/identities/1", {**form, "tracklet": south}).status == 303
        assert link() == [[1, 1, 3], [6, 6, 3]]
        assert server.post("/identities/1", {**form_of(server, 1, "merge"), "other": "1 x"}).status == 400
        assert server.post("/identities/1", form_of(server, 1, "merge", 6)).status == 303
        assert link() == [[1, 1, 3], [1, 1, 3]]
        assert server.post("/identities/1", {**form, "tracklet": "north.parquet/track0000"}).status == 303
        assert server.post("/identities/1", form_of(server, 1, "merge", 3)).status == 303
        assert link() == [[7, 1, 1], [1, 1, 1]]  # not who was just split off, but who is left
        assert server.post("/identities/1", form_of(server, 1, "merge", 7)).status == 303
        assert server.post("/identities/1", {**form, "tracklet": "north.parquet/track0001"}).status == 303
        assert link() == [[1, 8, 1], [1, 1, 1]]  # a merge that waits loses only who is split off


def test_an_export_is_one_file_without_addresses_and_with_blurred_heads(served):
    answer = served.post("/export?k=3&camera=2", {**RED, "blur": "true"})
    assert answer.headers["content-disposition"] == 'attachment; filename="search.html"'
    text = answer.text
    assert stated_source(text) == "search north.parquet, south.parquet"
    assert text.count("data:image/jpeg;base64,") == 4
    assert not re.search("https?://", text)
    assert "<td>blurred</td>" in text
    sharp = served.post("/export?k=3&camera=2", RED).text
    assert "<td>not blurred</td>" in sharp
    assert set(re.findall('base64,([^"]+)', text)).isdisjoint(re.findall('base64,([^"]+)', sharp))
    assert (served.logged[-1]["what"], served.logged[-1]["blurred"]) == ("export", False)


def test_a_server_that_blurs_shows_no_sharp_head(town):
    galleries, _ = town
    with serving(galleries) as sharp:
        clear = sharp.get("/api/picture", RED).body
    with serving(galleries, blur_faces=True) as blurring:
        assert blurring.get("/api/picture", RED).body != clear
        assert "<td>blurred</td>" in blurring.post("/export", RED).text


def test_who_is_forgotten_is_gone_from_the_server_at_once(town):
    galleries, linked = town
    with serving(galleries, identities=str(linked)) as server:
        assert server.get("/api/picture", RED).status == 200
        forgetting.forget([galleries[0]], forgetting.Selection(tracklets=["track0000"]))
        assert server.get("/api/picture", RED).status == 404
        assert server.page("/person", RED).status == 404
        query = {"gallery": "south.parquet", "tracklet": "track0000"}
        found = server.get("/api/search", query).json["found"]
        assert len(found) == 8
        assert ("north.parquet", "track0000") not in [(each["gallery"], each["tracklet"]) for each in found]
        assert len(server.get("/api/identities").json[0]["tracklets"]) == 1
        forgetting.forget([galleries[0]], forgetting.Selection(tracklets=[f"track000{n}" for n in (1, 2, 3, 4)]))
        assert server.get("/api/about").json["galleries"] == {"south.parquet": 5}
        forgetting.forget([galleries[1]], forgetting.Selection(tracklets=[f"track000{n}" for n in range(5)]))
        assert server.get("/api/about").status == 503


def test_pictures_that_have_gone_are_said_without_their_place(town):
    galleries, _ = town
    with serving(galleries) as server:
        for file in (galleries[0].parent / "north.frames" / "track0000").iterdir():
            file.unlink()
        answer = server.get("/api/picture", RED)
        assert (answer.status, answer.json["error"]) == (
            404, "The pictures of this tracklet are not there any more, or have changed."
        )  # fmt: skip


def test_galleries_that_do_not_belong_together_are_a_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    one, same = write_gallery(tmp_path, "one", 1), write_gallery(tmp_path / "a", "one", 1)
    other = write_gallery(tmp_path, "other", 2, fingerprint="g")
    with pytest.raises(InputError, match=r"two galleries are called one.parquet: rename one of them"):
        open_people([one, same])
    with pytest.raises(InputError, match=r"one\.parquet was made by toy f and .*other\.parquet by toy g: vectors of "):
        open_people([one, other])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--host=0.0.0.0"], "can be reached by other machines: give a token"),
        (["--token=short"], "the token must have at least 16 letters"),
        (["--port=99999"], "--port=99999 must be from 0 to 65535"),
        (["--audit=missing/log"], "the audit log missing/log cannot be written"),
        (["--identities=missing.parquet"], "there is no file of identities missing.parquet"),
        (["--host=192.0.2.1", "--token=0123456789abcdef"], "cannot listen on 192.0.2.1:8765"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(town, capsys, monkeypatch, flags, sentence):
    monkeypatch.delenv("VREID_TOKEN", raising=False)
    assert command.main(["serve", str(town[0][0]), *flags]) == 2
    assert sentence in capsys.readouterr().err


def test_names_of_the_host_are_known_and_no_others():
    local, open_one = address.Address(), address.Address("0.0.0.0", token="0123456789abcdef")
    for name in ("localhost", "127.0.0.1:8765", "127.0.0.2:8765", "[::1]:9", "LOCALHOST:1"):
        assert local.may_be_called(name)
    for name in ("evil.example", "localhost.evil.example", "", "192.168.1.5", "127.0.0.1.evil.example"):
        assert not local.may_be_called(name)
    assert open_one.may_be_called("192.168.1.5:8765")
    assert not open_one.may_be_called("evil.example")


def test_a_path_is_cut_to_its_last_part_and_a_dataset_keeps_its_name():
    assert [last_part(path) for path in ("walkers/small", "/a/b.mp4", "~/a", "../x/y", "a/b/c", None)] == [
        "walkers/small", "b.mp4", "a", "y", "c", None,
    ]  # fmt: skip
