"""The audit log: what is a line of it, and that nothing is shown which cannot be one."""

import os
import types

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax.serving import audit

from .conftest import RED, serving


def test_every_search_is_in_the_audit_log(served):
    before = len(served.logged)
    served.page("/person", {**RED, "camera": 2})
    served.get("/api/search", {**RED, "k": 5})
    lines = served.logged[before:]
    assert [line["what"] for line in lines] == ["search", "search"]
    assert (lines[0]["camera"], lines[0]["tracklet"], lines[1]["k"]) == (2, "track0000", 5)
    assert lines[0]["who"]["address"] == "127.0.0.1"
    assert oct(served.service.audit.path.stat().st_mode)[-3:] == "600"


def test_whose_pictures_were_handed_out_is_in_the_audit_log_once_a_minute(town, red_picture, monkeypatch):
    with serving(town[0]) as server:
        upload = server.upload(red_picture).json["upload"]
        digest, before = server.logged[-1]["sha256"], len(server.logged)
        now = [600.0]
        monkeypatch.setattr(audit, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
        for now[0] in (600.0, 659.0, 660.0):
            for size in ("small", "large"):
                assert server.get("/api/picture", {**RED, "size": size}).status == 200
                assert server.get(f"/api/uploads/{upload}/picture", {"size": size}).status == 200
        assert server.get("/api/picture", {**RED, "tracklet": "nobody"}).status == 404
        lines = server.logged[before:]
        assert {line["what"] for line in lines} == {"look"}
        told = [(line.get("gallery"), line.get("tracklet"), line.get("sha256")) for line in lines]
        assert told == [(*RED.values(), None), (None, None, digest)] * 2


def test_what_cannot_be_logged_is_not_shown(town, red_picture):
    galleries, _ = town
    with serving(galleries) as server:
        upload = server.upload(red_picture).json["upload"]
        kept, server.service.audit._file = server.service.audit._file, os.open(os.devnull, os.O_RDONLY)
        for path in ("/api/search", "/api/picture", f"/api/uploads/{upload}/picture"):
            answer = server.get(path, RED)
            assert answer.status == 503
            assert "audit log cannot be written" in answer.json["error"]
        os.close(server.service.audit._file)
        server.service.audit._file = kept
