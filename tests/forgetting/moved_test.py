"""Pictures that were moved or copied with their gallery go where they are; those that are not found are not called gone."""

import json
import shutil

import pytest

pytest.importorskip("pyarrow")

from vreid_jax import forgetting
from vreid_jax.forgetting import Selection, removal

CUT = {"video": ["town.mp4", 9, "a"], "tracks": ["town.txt", 9, "b"]}
CHECKED = "no picture is in their folders, 1 of them"


@pytest.fixture
def recordings(write_gallery, tmp_path):
    """A folder with a gallery and its pictures, which were cut out of /cameras/town.mp4."""
    (tmp_path / "recordings").mkdir()
    gallery = write_gallery("recordings/town.parquet", input="/cameras/town.mp4", tracks="b")
    write_record(gallery, CUT)
    return gallery.parent


def write_record(gallery, record):
    (gallery.parent / "town.parquet.frames" / ".cut.json").write_text(json.dumps(record))


def pictures(folder, name="track1"):
    return sorted(file.name for file in (folder / "town.parquet.frames" / name).glob("*.jpg"))


def forget(folder, **options):
    (outcome,) = forgetting.forget([folder / "town.parquet"], Selection(tracklets=["track1"]), **options)
    return outcome


def test_pictures_that_were_moved_with_their_gallery_go(recordings, tmp_path, monkeypatch):
    disk = recordings.rename(tmp_path / "disk2")
    monkeypatch.chdir(disk)
    (would,) = forgetting.forget(["town.parquet"], Selection(tracklets=["track1"]), dry_run=True)
    assert would.would_remove == [str(disk / "town.parquet.frames" / "track1")]
    outcome = forget(disk)
    assert outcome.removed.pictures == 2
    assert CHECKED in outcome.proof
    assert not pictures(disk)
    assert len(pictures(disk, "track0")) == 2
    assert not [words for words in outcome.not_covered if "frames" in words]


def test_in_a_folder_of_galleries_they_go_too(recordings, tmp_path):
    from vreid_jax.search.gallery_files import open_files

    disk = recordings.rename(tmp_path / "disk2")
    (part,) = open_files(disk).parts
    (outcome,) = forgetting.forget([disk], Selection(tracklets=[part.key("track1")]))
    assert outcome.removed.pictures == 2
    assert not pictures(disk)


def test_the_pictures_of_a_copy_are_its_own_and_those_of_the_original_are_said(recordings, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    outcome = forget(copy)
    assert (len(pictures(recordings)), pictures(copy)) == (2, [])
    (said,) = (words for words in outcome.not_covered if "frames" in words)
    assert said.startswith(f"{recordings / 'town.parquet.frames'}, which the gallery names, has pictures too")
    forget(recordings)
    assert not pictures(recordings)


def test_other_pictures_of_the_video_beside_a_gallery_are_not_those_that_it_names(recordings, tmp_path):
    """As of a gallery with --frames elsewhere, that took the place of one without."""
    (tmp_path / "new").mkdir()
    shutil.copytree(recordings / "town.parquet.frames", tmp_path / "new" / "town.parquet.frames")
    (recordings / "town.parquet").rename(tmp_path / "new" / "town.parquet")
    outcome = forget(tmp_path / "new")
    assert (pictures(recordings), len(pictures(tmp_path / "new"))) == ([], 2)
    (said,) = (words for words in outcome.not_covered if "frames" in words)
    assert said.startswith(f"{tmp_path / 'new' / 'town.parquet.frames'} has other pictures that were cut out of")


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"video": CUT["video"]},
        CUT | {"video": ["uptown.mp4", 9, "a"]},
        CUT | {"tracks": ["town.txt", 9, "c"]},
    ],
)
def test_pictures_that_are_not_found_are_not_called_gone(recordings, tmp_path, record):
    disk = recordings.rename(tmp_path / "disk2")
    write_record(disk / "town.parquet", record)
    outcome = forget(disk)
    assert outcome.removed.pictures == 0
    assert len(pictures(disk)) == 2
    assert not [words for words in outcome.proof if "picture" in words]
    assert (
        f"the pictures were in {recordings / 'town.parquet.frames'}, which is gone: if they were moved, remove them there"
        in outcome.not_covered
    )


def test_pictures_of_a_folder_that_is_gone_are_said_once(write_gallery, tmp_path):
    gallery = write_gallery(input=str(tmp_path / "town.parquet.frames"))
    (tmp_path / "town.parquet.frames").rename(tmp_path / "elsewhere")
    (outcome,) = forgetting.forget([gallery], Selection(tracklets=["track1", "track2"]))
    (said,) = (words for words in outcome.not_covered if "which is gone" in words)
    assert said.startswith(f"the pictures were in {tmp_path / 'town.parquet.frames'}, ")


def test_a_killed_forget_finds_the_moved_pictures_again(recordings, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    with monkeypatch.context() as patch:
        patch.setattr(removal, "_remove_pictures", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(copy)
    outcome = forget(copy)
    assert outcome.resumed == ["track1"]
    assert (len(pictures(recordings)), pictures(copy)) == (2, [])
    assert [words for words in outcome.not_covered if "has pictures too" in words]


def test_what_a_killed_forget_removed_is_not_called_lost(recordings, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_remove_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(recordings)
    shutil.rmtree(recordings / "town.parquet.frames")
    assert not [words for words in forget(recordings, dry_run=True).not_covered if "which is gone" in words]
