"""What a server notices of its galleries while it runs."""

import shutil

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")

from vreid_jax.errors import InputError
from vreid_jax.serving import service as services
from vreid_jax.serving.asked import shown
from vreid_jax.serving.people import open_people
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.service import Options, Service

from .conftest import serving, write_gallery, write_linked

ASKED = {"gallery": "north.parquet", "tracklet": "track0002"}


@pytest.fixture
def serve():
    """Open galleries as a server does, and close them in the end."""
    opened = []

    def open_all(*galleries, **options):
        opened.append(Service(Options(galleries, **options)))
        return opened[-1]

    yield open_all
    for service in opened:
        service.close()


def test_files_that_come_into_a_folder_and_go_are_noticed(serve, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    first, second = write_gallery(folder, "north", 1), write_gallery(folder, "south", 2)
    service = serve(folder)
    assert len(service.people()) == 10
    third = write_gallery(folder, "east", 3)
    assert len(service.people()) == 15
    second.unlink()
    assert len(service.people()) == 10
    assert service.people().cameras == [1, 3]
    for file in (first, third):
        file.unlink()
    with pytest.raises(Refusal, match="have been forgotten"):
        service.people()


def test_a_gallery_in_an_object_store_stays_when_one_of_this_machine_changes(serve, tmp_path, monkeypatch):
    north, south = write_gallery(tmp_path, "north", 1), write_gallery(tmp_path, "south", 2)
    stored = {"s3://bucket/south.parquet": south}
    monkeypatch.setattr(services, "open_people", lambda paths: open_people([stored.get(path, path) for path in paths]))
    service = serve(north, *stored)
    north.unlink()
    assert list(service.people().galleries) == ["south.parquet"]


def test_people_without_identities_are_shown_when_these_are_forgotten(serve, tmp_path):
    north, south, west = (write_gallery(tmp_path, name, n) for n, name in enumerate(("north", "south", "west"), 1))
    linked = write_linked([north, south])
    service = serve(north, west, identities=linked)
    assert shown(service.people(), service, 0)["identity"] == 1
    content, away = linked.read_bytes(), north.rename(tmp_path / "away")
    assert shown(service.people(), service, 0) == {
        **service.people().of(0),
        "identity": None,
        "name": "",
        "confidence": None,
    }
    away.rename(north)
    assert shown(service.people(), service, 0)["identity"] == 1
    linked.unlink()
    assert shown(service.people(), service, 0)["identity"] is None
    linked.write_bytes(content[:-9])
    with pytest.raises(Refusal, match="cannot be read") as refused:
        shown(service.people(), service, 0)
    assert refused.value.status == 503
    linked.write_bytes(content)
    assert shown(service.people(), service, 0)["identity"] == 1


@pytest.mark.parametrize("what", ["gone", "of others"])
def test_identities_that_cannot_be_served_are_refused_at_the_start(serve, tmp_path, what):
    north, south = write_gallery(tmp_path, "north", 1), write_gallery(tmp_path, "south", 2)
    linked = write_linked([south])
    if what == "gone":
        linked.unlink()
    with pytest.raises(
        InputError, match="there is no file of identities" if what == "gone" else "links other galleries"
    ):
        serve(north, identities=linked)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda server: server.get("/api/search", {**ASKED, "k": 1}), '"tracklet":"track0001"'),
        (lambda server: server.page("/person", ASKED), "<h1>track0002</h1>"),
        (lambda server: server.post("/export", ASKED), "Nearest to track0002"),
    ],
    ids=["api", "page", "export"],
)
def test_a_search_during_a_change_is_for_the_tracklet_that_was_asked_for(tmp_path, monkeypatch, ask, words):
    def change_to(*people):
        shutil.rmtree(tmp_path / "north.frames", ignore_errors=True)
        return write_gallery(tmp_path, "north", 1, people=people)

    with serving([change_to(1, 2, 3)]) as server:
        monkeypatch.setattr(server.service, "log", lambda *told, **details: change_to(0, 1, 2))
        answer = ask(server)
        assert (answer.status, words in answer.text) == (200, True)
        change_to(1, 2, 3)
        monkeypatch.setattr(server.service, "log", lambda *told, **details: change_to(0, 1, 3))
        answer = ask(server)
        assert (answer.status, "no such tracklet" in answer.text) == (404, True)
