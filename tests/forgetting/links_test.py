"""Behind a symbolic link people are forgotten where they are, and with the last of them the link goes too."""

import os

import pytest

pytest.importorskip("pyarrow")

from vreid_jax import forgetting
from vreid_jax.forgetting import Selection, removal
from vreid_jax.forgetting.plan import journal_of
from vreid_jax.linking.corrections import Correction, append_correction, read_corrections
from vreid_jax.linking.identities import read_identities, write_identities
from vreid_jax.report import write_identities_page
from vreid_jax.search.gallery import open_gallery, read_about, replace_about
from vreid_jax.search.gallery_files import open_files

NAMES = ["track0", "track1", "track2", "track3"]


@pytest.fixture
def archive(write_gallery, tmp_path):
    """A folder `arch` with `north.parquet`, and with `town/town.parquet`, a link to a gallery on `disk2`."""
    for folder in ("arch/town", "disk2"):
        (tmp_path / folder).mkdir(parents=True)
    write_gallery("arch/north.parquet", input="north.mp4")
    real = write_gallery("disk2/town.parquet", input="town.mp4")
    (tmp_path / "arch" / "town" / "town.parquet").symlink_to("../../disk2/town.parquet")
    return tmp_path / "arch", real


def visible(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def moved(identities, folder, to):
    """Move a file of identities; the paths in it are relative to where it is."""
    write_identities(read_identities(identities).moved(folder, to.parent), to)
    identities.unlink()


def keys(folder, *names):
    part = next(part for part in open_files(folder).parts if part.about["input"] == "town.mp4")
    return [part.key(name) for name in names]


def forget(gallery, **selection):
    (outcome,) = forgetting.forget([gallery], Selection(**selection))
    return outcome


def test_a_linked_file_of_a_folder_loses_the_person_where_it_is(archive):
    folder, real = archive
    vector = open_gallery(real).vectors[1].tobytes()
    outcome = forget(folder, tracklets=keys(folder, "track1"))
    assert outcome.gallery == str(real)
    assert (folder / "town" / "town.parquet").is_symlink()
    assert open_gallery(real).columns["tracklet_id"].tolist() == ["track0", "track2", "track3"]
    assert vector not in real.read_bytes()
    assert len(open_gallery(folder)) == 7


def test_without_anybody_left_file_and_link_go_and_the_folder_of_the_link(archive, tmp_path):
    folder, real = archive
    outcome = forget(folder, tracklets=keys(folder, *NAMES))
    assert "town.parquet is gone, with the link to it: nobody else was in it" in outcome.proof
    assert outcome.removed.files == [str(real), str(folder / "town" / "town.parquet")]
    assert visible(folder) == ["north.parquet", "north.parquet.frames"]
    assert not visible(tmp_path / "disk2")


@pytest.mark.parametrize("step", ["_remove_rows", "is_dangling"])
def test_a_killed_forget_behind_a_link_is_finished_by_the_same_command(archive, monkeypatch, tmp_path, step):
    folder, real = archive

    def killed(*arguments):
        raise KeyboardInterrupt

    names = keys(folder, *NAMES)
    with monkeypatch.context() as patch:
        patch.setattr(removal, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forget(folder, tracklets=names)
    assert journal_of(real).exists()
    assert forget(folder, tracklets=names).resumed == NAMES
    assert visible(folder) == ["north.parquet", "north.parquet.frames"]
    assert not visible(tmp_path / "disk2")


def test_the_last_of_an_archive_leaves_the_record_that_nobody_is_left_where_the_link_was(write_gallery, tmp_path):
    """So that its video is not embedded again."""
    place = tmp_path / "archive" / "camera=1" / "date=2026-05-04" / "part.parquet"
    place.parent.mkdir(parents=True)
    (tmp_path / "archive" / "_archive.json").touch()
    place.symlink_to(write_gallery())
    forget(place, tracklets=NAMES)
    assert (tmp_path / "archive" / "_empty" / "part.json").is_file()
    assert not os.path.lexists(place)


def test_commands_that_write_a_gallery_or_identities_anew_write_them_behind_the_link(
    write_gallery, write_linked, tmp_path, vreid
):
    real, elsewhere = write_gallery(), tmp_path / "elsewhere"
    linked = write_linked(real)
    elsewhere.mkdir()
    for file in (real, linked):
        (elsewhere / file.name).symlink_to(file)
    replace_about(elsewhere / real.name, retention_days=3)
    assert read_about(real)["retention_days"] == 3
    code, _, error = vreid("link", f"--into={elsewhere / linked.name}", "--threshold=0.2", "--quiet")
    assert code == 0, error
    assert read_identities(linked).about["threshold"] == 0.2
    assert read_identities(linked).about["galleries"] == [{"path": "town.parquet", "rows": 4}]
    assert all((elsewhere / file.name).is_symlink() for file in (real, linked))
    assert write_identities_page(elsewhere / linked.name).parent == elsewhere


def test_a_file_that_a_folder_holds_twice_is_one_gallery(archive, monkeypatch, tmp_path):
    folder, real = archive
    (folder / "again.parquet").symlink_to("town/town.parquet")
    (folder / "south.parquet").symlink_to("north.parquet")
    monkeypatch.chdir(tmp_path)
    assert forget("arch", tracklets=keys(folder, *NAMES)).removed.rows == 4
    assert visible(folder) == ["north.parquet", "north.parquet.frames", "south.parquet"]
    assert not real.exists()
    (part, _) = open_files(folder).parts
    assert forget("arch", tracklets=[part.key(name) for name in NAMES]).removed.rows_left == 0
    assert visible(folder) == []


@pytest.mark.parametrize("meant", [["track0"], NAMES])
def test_what_lies_beside_a_link_goes_too(write_gallery, write_linked, tmp_path, tree, meant):
    """As it does when a gallery was moved to another disk, and a link took its place."""
    for folder in ("arch", "disk2"):
        (tmp_path / folder).mkdir()
    real = write_gallery("disk2/town.parquet")
    link = tmp_path / "arch" / "town.parquet"
    link.symlink_to(real)
    moved(write_linked(real), real.parent, tmp_path / "arch" / "people.parquet")
    (tmp_path / "arch" / "town.html").write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="vreid-source" content="gallery ../disk2/town.parquet">'
    )
    (tmp_path / "arch" / "town.tracks.txt").write_text("1,0,5,5,20,40,1\n1,9,9,5,20,40,1\n")
    (tmp_path / "arch.index" / "vectors.lance").mkdir(parents=True)
    outcome = forget(link, tracklets=meant)
    assert outcome.removed.boxes == 1
    assert not (tmp_path / "arch.index").exists()
    left = visible(tmp_path / "arch")
    assert left == (["town.tracks.txt"] if meant == NAMES else ["people.parquet", "town.parquet", "town.tracks.txt"])
    assert not [name for name, content in tree(tmp_path).items() if b"track0" in content]
    assert real.exists() == (meant != NAMES)


@pytest.mark.parametrize("meant", [["track0"], NAMES])
def test_identities_indexes_and_pages_behind_links_are_cleaned_where_they_are(kept, tmp_path, meant):
    disk, named = tmp_path / "disk2", tmp_path / "identities.parquet"
    disk.mkdir()
    for name in ("town.parquet.index", "people.html"):
        (tmp_path / name).rename(disk / name)
        (tmp_path / name).symlink_to(disk / name)
    moved(named, tmp_path, disk / "people.parquet")
    named.symlink_to(disk / "people.parquet")
    for file in (named, disk / "people.parquet"):
        append_correction(file, Correction("name", (("../town.parquet", "track0"),), name="Ann"))
    outcome = forget(kept, tracklets=meant)
    assert outcome.removed.identities == len(meant)
    assert named.is_symlink() == named.exists() == (meant != NAMES)
    assert visible(disk) == (["people.parquet"] if meant != NAMES else [])
    if meant != NAMES:
        assert read_identities(named).columns["tracklet_id"].tolist() == ["track1", "track2", "track3"]
        assert not [each for each in read_corrections(named) if each.name == "Ann" and "../town.parquet" in str(each)]
