"""What strangers, pages of other sites and hostile files try, and what they get."""

import os
import socket
import struct
import urllib.parse
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax.serving import uploads
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.uploads import MOST_BYTES, decode

from .conftest import RED, serving

TOKEN = "a-token-of-the-tests"


def test_every_answer_bears_the_headers_that_keep_it_in_its_place(served):
    for path in ("/", "/api/about", "/static/style.css", "/nothing", "/api/picture?gallery=x&tracklet=y"):
        headers = served.page(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1"])
def test_another_name_of_this_machine_is_refused(served, host):
    answer = served.get("/api/tracklets", host=host)
    assert answer.status == 421
    assert b"track" not in answer.body


def test_a_page_of_another_site_gets_nothing_and_changes_nothing(served):
    before = len(served.logged)
    for site in ("cross-site", "same-site"):
        assert served.get("/api/search", RED, sec_fetch_site=site, sec_fetch_mode="cors").status == 403
        assert served.get("/api/picture", RED, sec_fetch_site=site, sec_fetch_mode="no-cors").status == 403
    fields = {"action": "name", "name": "x"}
    assert served.post("/identities/1", fields, origin="http://evil.example").status == 403
    assert served.post("/identities/1", fields, origin="null").status == 403
    assert served.post("/identities/1", fields, origin="http://[bad").status == 403
    assert served.post("/identities/1", fields, csrf="").status == 403
    assert served.post("/identities/1", fields, csrf="0" * 64).status == 403
    assert served.post("/identities/1", fields, csrf="schön").status == 403
    assert served.post("/identities/1", fields, csrf="", x_csrf_token="schön").status == 403
    assert served.ask("POST", "/api/corrections", "{}", content_type="application/json").status in (400, 403)
    assert served.upload(b"x", csrf="wrong").status == 403
    assert served.ask("OPTIONS", "/api/search").status == 405
    assert not [line for line in served.logged[before:] if line["what"] in ("correct", "upload", "search")]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    from .conftest import write_gallery

    with serving([write_gallery(tmp_path_factory.mktemp("guarded"), "north", 1)], token=TOKEN) as server:
        yield server


def test_without_the_token_nothing_is_shown(guarded):
    for path in ("/", "/person", "/about", "/upload"):
        answer = guarded.page(path)
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    for path in (
        "/api/about",
        "/api/tracklets",
        "/api/openapi.json",
        "/api/picture?gallery=north.parquet&tracklet=track0000",
    ):
        assert guarded.get(path).status == 401
        assert guarded.get(path, authorization="Bearer wrong-wrong-wrong-wrong").status == 401
        assert guarded.get(path, cookie="vreid_session=local").status == 401
    assert guarded.get("/static/../api/about").status in (401, 404)
    assert guarded.get("/static/%2e%2e/api/about").status == 404
    assert guarded.ask("POST", "/export", "").status == 401


def test_a_program_sends_the_token_and_a_person_signs_in(guarded):
    assert guarded.get("/api/about", authorization=f"Bearer {TOKEN}").json["tracklets"] == 5
    form = {"content_type": "application/x-www-form-urlencoded"}
    wrong = guarded.ask("POST", "/sign-in", "token=wrong&name=Eve", **form)
    assert wrong.status == 403
    assert not wrong.cookies
    right = guarded.ask("POST", "/sign-in", urllib.parse.urlencode({"token": TOKEN, "name": "Ann\nb"}), **form)
    (cookie,) = right.cookies
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    session = {"cookie": cookie.split(";")[0]}
    assert guarded.get("/api/about", **session).json["user"] == "Ann b"
    answer = guarded.post("/export", RED, csrf="", **session)
    assert answer.status == 403
    token = guarded.csrf(**session)
    assert guarded.post("/export", RED, csrf=token, **session).status == 200
    assert [line["what"] for line in guarded.logged if line["who"]["name"] == "Eve"] == ["sign in refused"]
    assert guarded.logged[-1]["who"]["name"] == "Ann b"
    guarded.post("/sign-out", {}, csrf=token, **session)
    assert guarded.get("/api/about", **session).status == 401


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "track0000/../track0001",
        "\0",
        "~root",
        "x" * 400,
    ],
)
def test_no_path_from_outside_is_opened(served, name):
    for parameters in ({"gallery": name, "tracklet": name}, {"gallery": "north.parquet", "tracklet": name}):
        for path in ("/api/picture", "/api/search", "/person"):
            assert served.get(path, parameters).status == 404
    quoted = urllib.parse.quote(name, safe="")
    for path in (f"/static/{quoted}", f"/uploads/{quoted}", f"/api/uploads/{quoted}/picture"):
        answer = served.get(path)
        assert answer.status == 404
        assert b"root:" not in answer.body


def test_what_is_asked_wrongly_is_one_sentence(served):
    for path, status in (
        ("/api/search?gallery=north.parquet&tracklet=track0000&k=0", 400),
        ("/api/search?gallery=north.parquet&tracklet=track0000&k=ten", 400),
        ("/api/search?gallery=north.parquet&tracklet=track0000&max_distance=nan", 400),
        ("/api/search?gallery=north.parquet&tracklet=track0000&false_accept_rate=0.001", 400),
        ("/api/search?gallery=north.parquet", 400),
        ("/api/tracklets?after=yesterday", 400),
        ("/api/tracklets?after=inf", 400),
        ("/api/tracklets?after=1&before=2026-05-04", 400),
        ("/api/tracklets?in_gallery=x.parquet", 404),
        ("/api/tracklets?offset=-1", 400),
        ("/identities/99", 404),
        ("/identities/x", 400),
        (f"/api/picture?gallery={'x' * 501}&tracklet=y", 400),
    ):
        answer = served.get(path)
        assert answer.status == status, path
        assert answer.json["error"].endswith("."), answer.text
        assert "Traceback" not in answer.text
    assert "That did not work" in served.page("/identities/99").text


def test_an_error_of_the_program_tells_nothing(served, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("/secret/place is broken")

    monkeypatch.setattr(served.service, "people", fail)
    answer = served.get("/api/about")
    assert (answer.status, answer.json["error"]) == (500, "The server failed; its own log says why.")


def test_too_much_is_refused_whether_it_says_so_or_not(served):
    assert (
        served.ask("POST", "/export", b"x" * (1 << 17), content_type="application/x-www-form-urlencoded").status == 413
    )
    assert served.ask("POST", "/upload", b"", content_length=str(1 << 40)).status == 413
    with socket.create_connection(("127.0.0.1", served.port), 30) as stream:  # in chunks, without a length
        head = "POST /export HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
        stream.sendall(f"{head}content-type: application/x-www-form-urlencoded\r\n\r\n".encode())
        try:
            for _ in range(40):
                stream.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            pass
        answer = stream.recv(100)
    assert b" 413 " in answer
    with pytest.raises(Refusal, match="larger than 32 MB"):
        decode(b"\xff\xd8\xff" + bytes(MOST_BYTES))


def hostile_files():
    picture = cv2.imencode(".jpg", np.full((64, 32, 3), 90, np.uint8))[1].tobytes()
    png = cv2.imencode(".png", np.full((64, 32, 3), 90, np.uint8))[1].tobytes()

    def huge_png(width, height):
        chunk = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            png[:8]
            + struct.pack(">I", 13)
            + b"IHDR"
            + chunk
            + struct.pack(">I", zlib.crc32(b"IHDR" + chunk))
            + png[33:]
        )

    return {
        "empty": b"",
        "text": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "page": b"<html><script>alert(1)</script>",
        "cut": picture[: len(picture) // 2],
        "zeros": picture[:40] + bytes(len(picture) - 42) + b"\xff\xd9",
        "huge": huge_png(30_000, 30_000),
        "not a video": b"\0\0\0\x18ftypisom" + bytes(64),
        "playlist in a video": b"\0\0\0\x18ftypisom\n#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "matroska": b"\x1aE\xdf\xa3" + os.urandom(2048),
        "avi": b"RIFF\xff\xff\xff\xffAVI LIST" + b"\xff" * 512,
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


@pytest.mark.parametrize("what", sorted(hostile_files()))
def test_a_hostile_file_is_a_sentence(served, what):
    answer = served.upload(hostile_files()[what])
    assert answer.status == 415, answer.text
    sentence = answer.json["error"]
    assert sentence.startswith("The file ")
    assert "/" not in sentence
    assert served.get("/api/about").status == 200


def test_a_decoder_that_takes_too_much_ends_alone(red_video, monkeypatch):
    assert decode(red_video).shape[1:] == (128, 64, 3)
    assert len(decode(red_video)) <= uploads.MOST_FRAMES
    monkeypatch.setattr(uploads, "MEMORY", 1 << 20)
    with pytest.raises(Refusal, match="within the time and memory for it"):
        decode(red_video)
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "SECONDS", 0)
    with pytest.raises(Refusal, match=r"(takes longer|within the time and memory)"):
        decode(red_video)
