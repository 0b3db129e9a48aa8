"""An archive made in this process: the same rows as `vreid embed`, each once, whatever is repeated or lost."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.archives import work
from vreid_jax.archives.embedding import JOB, embed_archive
from vreid_jax.archives.manifest import Video
from vreid_jax.archives.parts import ArchiveSettings, parts_of
from vreid_jax.archives.store import Store
from vreid_jax.archives.work import Worker
from vreid_jax.cli import chosen_model
from vreid_jax.errors import InputError
from vreid_jax.search import embed_gallery, open_gallery, open_source


class Lost(Exception):
    """A worker that is gone."""


def run(model, street, out, settings=None, most=None, **options):
    """Embed in this process; with `most`, be lost after so many parts."""
    settings = settings or ArchiveSettings()

    def make(parts, store):
        worker = Worker(model, store, settings)
        for number, part in enumerate(parts):
            if number == most:
                raise Lost
            yield worker.make(part)

    return embed_archive(str(street / "cameras.csv"), str(out), model, make, settings, **options)


def files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


def rows(out):
    """Return every row of an archive: input, tracklet, camera, first and last frame, and its vector."""
    found = []
    for path in sorted(Path(out).glob("camera=*/date=*/*.parquet")):
        gallery = open_gallery(path)
        for number in range(len(gallery)):
            row = gallery.row(number)
            key = (gallery.about["input"], row["tracklet_id"], row["camid"], row["first_frame"], row["last_frame"])
            found.append((key, gallery.vectors[number].tobytes()))
    return sorted(found)


def test_a_part_is_the_gallery_that_embed_writes(model, street, tmp_path):
    done = run(model, street, tmp_path / "archive")
    assert (done.videos, done.parts, done.tracklets, done.failed) == (2, 2, 3, ())
    for camera, name in enumerate(("north", "south"), 1):
        (part,) = (tmp_path / "archive").glob(f"camera={camera}/date=2026-03-01/*.parquet")
        video = str(street / f"{name}.avi")
        source = open_source(video, tracks=str(street / f"{name}.txt"), frames=tmp_path / name, camera=camera)
        embed_gallery(model, source, tmp_path / f"{name}.parquet", recorded_at="2026-03-02T00:30:00+01:00")
        ours, theirs = open_gallery(part), open_gallery(tmp_path / f"{name}.parquet")
        assert ours.about == theirs.about
        np.testing.assert_array_equal(ours.vectors, theirs.vectors)
        for column, values in theirs.columns.items():
            expected = np.full(len(values), "") if column == "folder" else values
            np.testing.assert_array_equal(ours.columns[column], expected, err_msg=column)


def test_a_video_without_tracks_is_tracked_as_embed_does(vreid, model, walking_block, tmp_path, monkeypatch):
    monkeypatch.setattr(chosen_model, "load_chosen", lambda name: model)
    (tmp_path / "cameras.csv").write_text("video,camera,start\nwalk.avi,4,0\n")
    assert run(model, tmp_path, tmp_path / "archive").tracklets == 1
    flags = (f"--out={tmp_path / 'walk.parquet'}", "--camera=4", "--start=0", "--quiet")
    code, _, said = vreid("embed", tmp_path / "walk.avi", *flags)
    assert code == 0, said
    (part,) = (tmp_path / "archive").glob("camera=4/date=1970-01-01/*.parquet")
    ours, theirs = open_gallery(part), open_gallery(tmp_path / "walk.parquet")
    assert ours.about == theirs.about
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    assert ours.row(0) | {"folder": ""} == theirs.row(0) | {"folder": ""}
    assert ours.row(0)["end_seconds"] == 1.8


def test_who_was_forgotten_is_not_embedded_again(vreid, model, street, tmp_path):
    out = tmp_path / "archive"
    run(model, street, out)
    (part,) = out.glob("camera=2/*/*.parquet")
    code, _, error = vreid("forget", part, "--before=2030-01-01")
    assert code == 0, error
    assert not part.exists()
    done = run(model, street, out)
    assert (done.parts, done.before, done.empty) == (0, 1, 1)
    assert not part.exists()


def test_what_a_killed_first_run_left_is_in_nobodys_way(model, street, tmp_path):
    out = tmp_path / "archive"
    out.mkdir()
    (out / f".{JOB}.00000000.partial").touch()
    assert run(model, street, out).parts == 2


def test_a_run_that_is_lost_and_repeated_has_every_row_once(model, street, tmp_path):
    run(model, street, tmp_path / "whole")
    with pytest.raises(Lost):
        run(model, street, tmp_path / "archive", most=1)
    assert len(rows(tmp_path / "archive")) in (1, 2)
    done = run(model, street, tmp_path / "archive")
    assert (done.parts, done.before) == (1, 1)
    assert files(tmp_path / "archive") == files(tmp_path / "whole")
    again = run(model, street, tmp_path / "archive")
    assert (again.parts, again.tracklets, again.before) == (0, 0, 2)


def test_a_part_that_two_workers_make_is_there_once(model, street, tmp_path):
    settings = ArchiveSettings()

    def twice(parts, store):
        for part in parts:
            Worker(model, store, settings).make(part)
            yield Worker(model, store, settings).make(part)

    embed_archive(str(street / "cameras.csv"), str(tmp_path / "twice"), model, twice, settings)
    run(model, street, tmp_path / "once")
    assert files(tmp_path / "twice") == files(tmp_path / "once")


def test_parts_by_frames_cut_no_tracklet_in_two(model, street, tmp_path):
    # The first track of the north begins in frame 1 and ends in frame 8, the second begins in frame 5.
    done = run(model, street, tmp_path / "parts", ArchiveSettings(part_frames=4))
    assert (done.parts, done.tracklets) == (3, 3)
    run(model, street, tmp_path / "whole")
    parts, whole = rows(tmp_path / "parts"), rows(tmp_path / "whole")
    assert [key for key, _ in parts] == [key for key, _ in whole]
    for (_, ours), (_, theirs) in zip(parts, whole, strict=True):
        np.testing.assert_allclose(np.frombuffer(ours, "f4"), np.frombuffer(theirs, "f4"), rtol=1e-5, atol=1e-6)


def test_a_poisoned_video_is_set_aside_and_not_fatal(model, street, draw, tmp_path):
    good = (street / "south.avi").read_bytes()
    (street / "south.avi").write_bytes(b"poison")
    manifest = street / "cameras.csv"
    manifest.write_text(manifest.read_text() + "missing.avi,3,0,\n")
    out = tmp_path / "archive"
    done = run(model, street, out)
    assert done.parts == 1
    why = {Path(each["video"]).name: each["why"] for each in done.failed}
    assert set(why) == {"south.avi", "missing.avi"}
    assert "cannot be read: OpenCV finds no frame in it" in why["south.avi"]
    assert "cannot read" in why["missing.avi"]
    records = [json.loads(path.read_text()) for path in (out / "_failed").iterdir()]
    assert {record["why"] for record in records} == set(why.values())
    again = run(model, street, out)  # what was set aside is not tried again, and still counted
    assert (again.before, again.parts) == (1, 0)
    assert sorted(map(str, again.failed)) == sorted(map(str, done.failed))
    assert len(run(model, street, out, retry_failed=True).failed) == 2
    (street / "south.avi").write_bytes(good)  # another content: it is tried without being asked
    draw(street / "missing.avi", 3)
    shutil.copy(street / "south.txt", street / "missing.txt")
    manifest.write_text(manifest.read_text().replace("missing.avi,3,0,", "missing.avi,3,0,missing.txt"))
    done = run(model, street, out)
    assert (done.parts, done.failed) == (2, ())
    assert not list((out / "_failed").iterdir())


def test_a_video_that_has_changed_replaces_its_rows(model, street, draw, tmp_path):
    out = tmp_path / "archive"
    run(model, street, out)
    before = files(out)
    draw(street / "north.avi", 9)
    done = run(model, street, out)
    assert (done.parts, done.before, done.replaced) == (1, 1, 1)
    run(model, street, tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh") != before


def test_a_video_that_has_moved_or_is_copied_is_not_embedded_again(model, street, tmp_path):
    out = tmp_path / "archive"
    run(model, street, out)
    moved = tmp_path / "moved"
    shutil.move(street, moved)
    (moved / "south.avi").touch()
    shutil.copy(moved / "north.avi", moved / "copy.avi")
    line = (moved / "cameras.csv").read_text().splitlines()[1].replace("north.avi", "copy.avi")
    (moved / "cameras.csv").write_text(f"{(moved / 'cameras.csv').read_text()}{line}\n")
    done = run(model, moved, out)
    assert (done.videos, done.parts, done.before, done.replaced) == (3, 0, 2, 0)
    assert len(rows(out)) == 3


def test_a_video_without_people_is_empty_and_not_a_failure(model, street, tmp_path):
    (street / "south.txt").write_text("")
    out = tmp_path / "archive"
    done = run(model, street, out)
    assert (done.parts, done.empty, done.failed) == (1, 1, ())
    again = run(model, street, out)
    assert (again.parts, again.before, again.empty, again.failed) == (0, 1, 1, ())


def test_an_archive_has_one_model_and_one_set_of_settings(model, street, tmp_path):
    out = tmp_path / "archive"
    run(model, street, out)
    before = files(out)
    with pytest.raises(
        InputError, match=r"is an archive with part_frames=0, and this one has part_frames=4: name another"
    ):
        run(model, street, out, ArchiveSettings(part_frames=4))
    with pytest.raises(InputError, match=r"street holds other files: name a new folder"):
        run(model, street, street)
    assert files(out) == before
    (out / JOB).write_text("[")
    with pytest.raises(InputError, match=r"_archive.json is damaged"):
        run(model, street, out)


def test_pictures_stay_where_they_are_asked_for(model, street, tmp_path):
    kept = tmp_path / "pictures"
    run(model, street, tmp_path / "archive", ArchiveSettings(pictures=str(kept)))
    for part in (tmp_path / "archive").glob("camera=*/date=*/*.parquet"):
        for folder in open_gallery(part).columns["folder"].tolist():
            assert Path(folder).is_relative_to(kept)
            assert cv2.imread(str(min(Path(folder).iterdir()))).shape == (24, 12, 3)


def test_pictures_go_with_the_rows_that_are_replaced(model, street, draw, tmp_path):
    settings = ArchiveSettings(pictures=str(tmp_path / "pictures"))
    out = tmp_path / "archive"
    run(model, street, out, settings)
    draw(street / "north.avi", 9)
    assert run(model, street, out, settings).replaced == 1
    parts = [path.relative_to(out).with_suffix("").as_posix() for path in out.glob("camera=*/date=*/*.parquet")]
    cut = [path.relative_to(tmp_path / "pictures").as_posix() for path in tmp_path.glob("pictures/camera=*/date=*/*")]
    assert sorted(cut) == sorted(parts)


def test_a_part_that_fails_after_its_pictures_were_cut_keeps_none(model, street, tmp_path, monkeypatch):
    settings = ArchiveSettings(pictures=str(tmp_path / "pictures"))

    def full(*arguments):
        assert list(tmp_path.glob("pictures/**/*.jpg"))
        raise MemoryError

    monkeypatch.setattr(work, "embed_rows", full)
    assert len(run(model, street, tmp_path / "archive", settings).failed) == 2
    assert not list(tmp_path.glob("pictures/**/*.jpg"))
    monkeypatch.undo()
    assert run(model, street, tmp_path / "archive", settings, retry_failed=True).parts == 2
    (part,) = (tmp_path / "archive").glob("camera=2/date=*/*.parquet")
    monkeypatch.setattr(work, "embed_rows", full)
    worker = Worker(model, Store.at(str(tmp_path / "archive")), settings)
    video = Video(str(street / "south.avi"), 2, "2026-03-02T00:30:00+01:00", str(street / "south.txt"))
    (again,) = parts_of(video, model.fingerprint, settings)
    assert again.name == part.relative_to(tmp_path / "archive").as_posix()
    assert worker.make(again).state == "found"  # a second worker, when the first has made the part
    assert all(os.listdir(folder) for folder in open_gallery(part).columns["folder"].tolist())


def test_an_archive_that_cannot_be_written_ends_the_run(model, street, tmp_path, monkeypatch):
    def full(self, name, content):
        if name.endswith(".parquet"):
            raise InputError("no room")
        return write(self, name, content)

    write = Store.write
    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(InputError, match="no room"):
        run(model, street, tmp_path / "archive")
    assert not list((tmp_path / "archive").glob("_failed/*"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"part_frames": -1}, "--part-frames=-1 must not be negative"),
        ({"retention_days": 0}, "--retention-days=0 must be"),
    ],
)
def test_settings_that_cannot_be(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        ArchiveSettings(**fields)


def test_a_store_says_what_it_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file: name a folder"):
        Store.at(str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"ftp://host is an address that this library cannot open"):
        Store.at("ftp://host")
    store = Store.at(str(tmp_path / "new"))
    assert store.names() == set()
    store.write("a/b", b"content")
    assert (store.names(), store.read("a/b"), store.read("a/c")) == ({"a/b"}, b"content", None)
    if os.geteuid():
        (tmp_path / "new").chmod(0o500)
        with pytest.raises(InputError, match="cannot write"):
            store.write("c/d", b"")


def test_a_detector_is_known_by_what_its_file_holds(street, tmp_path):
    video = Video(str(street / "north.avi"), 1, "2026-03-02T09:00:00+01:00")
    contents = {}
    for name, weights in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / f"{name}.onnx").write_bytes(weights)
        (part,) = parts_of(video, "model", ArchiveSettings(f"onnx:{tmp_path / name}.onnx"))
        contents[name] = part.content
    assert contents["a"] == contents["b"] != contents["c"]
