"""The pictures of an archive's parts: several archives and workers may use them, and they go with the last."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from vreid_jax.archives import pictures, work
from vreid_jax.archives.embedding import embed_archive
from vreid_jax.archives.manifest import Video
from vreid_jax.archives.parts import ArchiveSettings, parts_of
from vreid_jax.archives.store import Store
from vreid_jax.archives.work import Worker, fail, pictures_of
from vreid_jax.errors import InputError
from vreid_jax.search import open_gallery


@pytest.fixture
def settings(tmp_path):
    return ArchiveSettings(pictures=str(tmp_path / "pictures"))


@pytest.fixture
def part(model, street, settings):
    """The one part of the south."""
    video = Video(str(street / "south.avi"), 2, "2026-03-02T00:30:00+01:00", str(street / "south.txt"))
    return parts_of(video, model.fingerprint, settings)[0]


def run(model, street, out, settings, **options):
    def make(parts, store):
        return map(Worker(model, store, settings).make, parts)

    return embed_archive(str(street / "cameras.csv"), str(out), model, make, settings, **options)


def have_pictures(out):
    files = out.glob("camera=*/date=*/*.parquet")
    folders = [folder for file in files for folder in open_gallery(file).columns["folder"].tolist()]
    return bool(folders) and all(os.path.isdir(folder) and os.listdir(folder) for folder in folders)


def full(*arguments):
    raise MemoryError


def test_the_pictures_of_another_archive_stay_where_a_part_fails_or_is_replaced(
    model, street, draw, settings, tmp_path, monkeypatch
):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run(model, street, theirs, settings)
    with monkeypatch.context() as patched:
        patched.setattr(work, "embed_rows", full)
        assert len(run(model, street, ours, settings).failed) == 2
    assert have_pictures(theirs)
    run(model, street, ours, settings, retry_failed=True)
    old = next(theirs.glob("camera=1/date=*/*.parquet")).relative_to(theirs).with_suffix("")
    draw(street / "north.avi", 9)
    assert run(model, street, ours, settings).replaced == 1
    assert have_pictures(ours)
    assert have_pictures(theirs)
    assert run(model, street, theirs, settings).replaced == 1  # the last that used them
    assert not (tmp_path / "pictures" / old).exists()
    assert have_pictures(ours)


def test_pictures_without_a_note_stay(model, street, part, settings, tmp_path):
    run(model, street, tmp_path / "old", settings)
    for note in tmp_path.glob("pictures/*/*/*/.archive-*"):
        note.unlink()
    assert Worker(model, Store(str(tmp_path / "new")), settings).make(part).state == "finished"
    pictures.remove_pictures(pictures_of(part.name, settings), Store(str(tmp_path / "new")))
    assert have_pictures(tmp_path / "old")


@pytest.mark.parametrize("first_fails", [False, True])
def test_the_pictures_of_another_worker_stay(model, part, settings, tmp_path, monkeypatch, first_fails):
    store, embed = Store(str(tmp_path / "archive")), work.embed_rows
    first, second = (Worker(model, store, settings) for _ in range(2))
    states = []

    def meanwhile(*arguments):
        monkeypatch.setattr(work, "embed_rows", embed if first_fails else full)
        states.append(second.make(part).state)
        return full() if first_fails else embed(*arguments)

    monkeypatch.setattr(work, "embed_rows", meanwhile)
    states.append(first.make(part).state)
    assert states == (["finished", "found"] if first_fails else ["failed", "finished"])
    assert have_pictures(tmp_path / "archive")


def test_pictures_that_cannot_be_removed_do_not_end_the_run(
    model, street, part, settings, tmp_path, monkeypatch, caplog
):
    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(work, "embed_rows", full)
    monkeypatch.setattr(pictures, "_remove", refused)
    with caplog.at_level(logging.WARNING):
        assert len(run(model, street, tmp_path / "archive", settings).failed) == 2
    folder = pictures_of(part.name, settings)
    assert f"the pictures in {folder} cannot be removed: Permission denied" in caplog.messages
    store = Store(str(tmp_path / "archive"))
    with pytest.raises(InputError, match="cannot be removed: Permission denied"):
        pictures.remove_pictures(folder, store)


def test_a_failed_part_that_is_replaced_leaves_no_pictures(model, street, draw, part, settings, tmp_path):
    out = tmp_path / "archive"
    run(model, street, out, settings)
    (out / part.name).unlink()
    fail(Store(str(out)), part, "the process that worked on it ended, 3 times", settings)
    folder = pictures_of(part.name, settings)
    assert folder.exists()  # another process may work with them
    draw(street / "south.avi", 9)
    run(model, street, out, settings)
    assert not folder.exists()
    assert not list((out / "_failed").iterdir())
    assert have_pictures(out)


def test_the_notes_beside_pictures_do_not_outlast_who_is_forgotten(vreid, model, street, settings, tmp_path):
    run(model, street, tmp_path / "archive", settings)
    run(model, street, tmp_path / "other", settings)
    for file in sorted((tmp_path / "archive").glob("camera=*/date=*/*.parquet")):
        code, _, error = vreid("forget", file, "--before=2030-01-01")
        assert code == 0, error
    assert not [path for path in Path(settings.pictures).rglob("*") if path.parent.name.startswith("date=")]


class Killed(BaseException):
    """The process is gone before it could write the part."""


def killed(*arguments):
    raise Killed


@pytest.mark.parametrize("repeated", [True, False])
def test_what_was_cut_for_an_attempt_that_was_killed_goes_with_the_next_run(
    model, street, draw, part, settings, tmp_path, monkeypatch, repeated
):
    out = tmp_path / "archive"
    with monkeypatch.context() as patched:
        patched.setattr(work, "embed_rows", killed)
        with pytest.raises(Killed):
            Worker(model, Store(str(out)), settings).make(part)
    folder = pictures_of(part.name, settings)
    assert folder.exists()
    if not repeated:
        draw(street / "south.avi", 9)
    assert run(model, street, out, settings).parts == 2
    assert folder.exists() == repeated
    assert have_pictures(out)


def test_what_an_attempt_that_was_killed_had_half_cut_goes_when_the_video_has_changed(
    model, street, draw, part, settings, tmp_path
):
    folder = pictures_of(part.name, settings)
    half = folder.with_name(f".{folder.name}.00000000.partial")
    half.mkdir(parents=True)
    os.utime(half, (0, 0))
    draw(street / "south.avi", 9)
    run(model, street, tmp_path / "archive", settings)
    assert not half.exists()


def test_what_was_cut_again_of_those_who_were_forgotten_goes_with_the_next_run(
    vreid, model, street, part, settings, tmp_path
):
    out, folder = tmp_path / "archive", pictures_of(part.name, settings)
    run(model, street, out, settings)
    shutil.copytree(folder, tmp_path / "copy")
    assert vreid("forget", out / part.name, "--before=2030-01-01")[0] == 0
    shutil.copytree(tmp_path / "copy", folder)  # by a worker that was killed before it could write the part
    assert run(model, street, out, settings).empty == 1
    assert not folder.exists()
    assert have_pictures(out)
