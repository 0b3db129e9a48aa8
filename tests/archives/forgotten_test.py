"""Whom `vreid forget` takes out of an archive while it is embedded, no worker brings back."""

from pathlib import Path

import pytest

from vreid_jax import forgetting
from vreid_jax.archives import work
from vreid_jax.archives.embedding import embed_archive
from vreid_jax.archives.parts import ArchiveSettings
from vreid_jax.archives.work import Worker
from vreid_jax.errors import InputError
from vreid_jax.forgetting import Selection
from vreid_jax.search import open_gallery, unchanged

NORTH = ["track0001", "track0002"]


@pytest.fixture
def settings(tmp_path):
    return ArchiveSettings(pictures=str(tmp_path / "pictures"))


@pytest.fixture
def embed(model, street, settings, tmp_path):
    """Embed the street into one archive in this process; first, when its parts are known, `meanwhile` happens."""

    def run(meanwhile=lambda: None):
        def make(parts, store):
            meanwhile()
            yield from map(Worker(model, store, settings).make, parts)

        return embed_archive(str(street / "cameras.csv"), str(tmp_path / "archive"), model, make, settings)

    return run


@pytest.fixture
def forget(tmp_path):
    def run(names):
        (gallery,) = (tmp_path / "archive").glob("camera=1/date=*/*.parquet")
        (outcome,) = forgetting.forget([gallery], Selection(tracklets=names))
        assert outcome.proof

    return run


@pytest.fixture
def left(tmp_path):
    """`left()` returns whose rows and whose pictures are there of the north."""

    def found():
        galleries = (tmp_path / "archive").glob("camera=1/date=*/*.parquet")
        rows = [name for file in galleries for name in open_gallery(file).columns["tracklet_id"].tolist()]
        return rows, sorted(path.name for path in Path(tmp_path / "pictures").glob("camera=1/date=*/*/track*"))

    return found


@pytest.mark.parametrize("names", [NORTH[:1], NORTH])
def test_by_a_run_that_had_planned_the_part(embed, forget, left, monkeypatch, names):
    def other_run():
        embed()
        forget(names)
        monkeypatch.setattr(work, "open_source", lambda *arguments, **options: pytest.fail("the video is read again"))

    done = embed(other_run)
    stay = [name for name in NORTH if name not in names]
    assert left() == (stay, stay)
    assert (done.parts, done.before, done.empty) == ((0, 2, 0) if stay else (0, 1, 1))


@pytest.mark.parametrize("names", [NORTH[:1], NORTH])
def test_by_a_worker_that_had_embedded_them(embed, forget, left, monkeypatch, names):
    real = work.embed_rows

    def during(*arguments):
        tables = real(*arguments)
        monkeypatch.setattr(work, "embed_rows", real)
        embed()
        forget(names)
        return tables

    monkeypatch.setattr(work, "embed_rows", during)
    done = embed()
    stay = [name for name in NORTH if name not in names]
    assert left() == (stay, stay)
    assert (done.parts, done.before, done.empty) == ((0, 2, 0) if stay else (0, 1, 1))


def test_by_a_worker_that_had_cut_no_pictures_yet(embed, forget, left, monkeypatch):
    real = work.open_source

    def during(*arguments, **options):
        monkeypatch.setattr(work, "open_source", real)
        embed()
        forget(NORTH)
        return real(*arguments, **options)

    monkeypatch.setattr(work, "open_source", during)
    assert embed().empty == 1
    assert left() == ([], [])


def test_one_worker_at_a_time_writes_a_part(embed, forget, left, monkeypatch):
    real = work.as_parquet

    def during(tables):
        monkeypatch.setattr(work, "as_parquet", real)
        embed()  # finds no part there, and waits for who writes it
        return real(tables)

    monkeypatch.setattr(unchanged, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(work, "as_parquet", during)
    with pytest.raises(InputError, match="another process forgets in"):
        embed()
    assert embed().parts == 2
    forget(NORTH[:1])
    assert left() == (NORTH[1:], NORTH[1:])
