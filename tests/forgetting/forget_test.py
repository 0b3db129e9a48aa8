"""What was forgotten is in none of the files, the rest is as it was, and a killed forget is finished by the next."""

import datetime
import json

import numpy as np
import pytest

from vreid_jax import forgetting
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.forgetting import Selection, removal
from vreid_jax.forgetting.plan import journal_of
from vreid_jax.linking.corrections import Correction, append_correction, read_corrections
from vreid_jax.linking.identities import Identities, read_identities, write_identities
from vreid_jax.search.gallery import open_gallery

pytest.importorskip("pyarrow")


def forget(gallery, **selection):
    (outcome,) = forgetting.forget([gallery], Selection(**selection))
    return outcome


def shown(folder):
    """The names in a folder, but those of locks, in which nothing is."""
    return {file.name for file in folder.iterdir() if not (file.name.endswith(".lock") and not file.stat().st_size)}


def test_identities_still_say_which_corrections_they_took_in(kept, tmp_path):
    file = tmp_path / "identities.parquet"
    table = read_identities(file)
    write_identities(Identities(table.columns, {**table.about, "corrections": 2}), file)
    append_correction(file, Correction("name", (("town.parquet", "track3"),), name="Eve"))
    forget(kept, tracklets=["track0"])  # a merge and a name are of nobody else; the split in between stays
    assert [each.kind for each in read_corrections(file)] == ["different", "name"]
    assert read_identities(file).about["corrections"] == 1


def test_everything_of_a_tracklet_goes_and_everything_else_stays(kept, tmp_path, tree):
    before = open_gallery(kept)
    vector = before.vectors[0].tobytes()
    outcome = forget(kept, tracklets=["track0"])
    after = open_gallery(kept)
    assert after.columns["tracklet_id"].tolist() == ["track1", "track2", "track3"]
    np.testing.assert_array_equal(after.vectors, before.vectors[1:])
    assert after.about == before.about
    files = tree(tmp_path)
    assert not [name for name, content in files.items() if vector in content or b"track0" in content]
    pictures = [name for name in files if name.endswith(".jpg")]
    assert sorted(pictures) == [f"town.parquet.frames/track{n}/{k:06d}.jpg" for n in (1, 2, 3) for k in (0, 1)]
    assert {name for name in files if "/" not in name and not name.startswith(".")} == {
        "town.parquet", "identities.parquet", "identities.corrections.json", "other.html", "others.html", "mine.html",
    }  # fmt: skip
    linked = read_identities(tmp_path / "identities.parquet")
    assert linked.columns["tracklet_id"].tolist() == ["track1", "track2", "track3"]
    assert linked.about["galleries"] == [{"path": "town.parquet", "rows": 3}]
    (left,) = read_corrections(tmp_path / "identities.parquet")  # the merge and the name were of them
    assert (left.kind, left.others) == ("different", (("town.parquet", "track3"),))
    removed = outcome.removed
    assert (removed.rows, removed.rows_left, removed.pictures, removed.identities, removed.corrections) == (
        1,
        3,
        2,
        1,
        3,
    )
    assert len(removed.files) == 6  # four pages, the index, the parts
    assert len(outcome.proof) == 4
    assert not journal_of(kept).exists()


def test_a_dry_run_changes_nothing_and_says_what_would_go(kept, tmp_path, tree, capsys):
    before = tree(tmp_path)
    assert command.main(["forget", str(kept), "--identity=1", "--dry-run"]) == 0
    assert tree(tmp_path) == before
    said = capsys.readouterr().out
    assert "would forget 2 tracklets: track0, track1" in said
    assert "would remove" in said
    assert "town.html" in said
    assert "people.html" in said
    assert "moved.html" in said
    assert "town.parquet.index" in said


def test_a_person_is_forgotten_in_all_galleries_that_are_named(write_gallery, write_linked):
    galleries = [write_gallery("north.parquet"), write_gallery("south.parquet")]
    linked = write_linked(*galleries)
    outcomes = forgetting.forget(galleries, Selection(identities=[1]), identities=linked)
    assert [outcome.tracklets for outcome in outcomes] == [["track0", "track1"]] * 2
    assert read_identities(linked).columns["identity"].tolist() == [2, 3, 2, 3]


@pytest.mark.parametrize("dry_run", [True, False])
def test_where_else_a_person_was_linked_is_said(write_gallery, write_linked, monkeypatch, vreid, dry_run):
    north, south, west = map(write_gallery, ("north.parquet", "south.parquet", "west.parquet"))
    write_linked(north, south, west)
    monkeypatch.chdir(north.parent)
    west.unlink()
    flags = ["north.parquet", "--identity=1", *["--dry-run"] * dry_run]
    said = [
        "identity 1 has 2 tracklets in south.parquet too: name it as well",
        "identity 1 has 2 tracklets in west.parquet too, which is gone: link anew",
    ]
    code, out, error = vreid("forget", *flags, "--json")
    assert code == 0, error
    assert json.loads(out)["galleries"][0]["not_covered"][:2] == said
    code, out, error = vreid("forget", "north.parquet", "--identity=2", *flags[2:])
    assert code == 0, error
    assert "  not covered: identity 2 has 1 tracklet in south.parquet too: name it as well" in out.splitlines()
    code, out, error = vreid("forget", "north.parquet", "south.parquet", "--identity=3", *flags[2:])
    assert (code, "south.parquet too" in out) == (0, False), error


def test_where_else_a_person_was_linked_is_said_after_a_kill(write_gallery, write_linked, monkeypatch):
    north, south = write_gallery("north.parquet"), write_gallery("south.parquet")
    write_linked(north, south)
    monkeypatch.setattr(removal, "_remove_rows", lambda plan, removed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        forget(north, identities=[1])
    monkeypatch.undo()
    assert forget(north, identities=[1]).not_covered[0].startswith("identity 1 has 2 tracklets in ")


@pytest.mark.parametrize("folder", [False, True])
def test_an_identity_is_not_that_of_another_recording_at_the_same_path(write_gallery, write_linked, tmp_path, folder):
    gallery = asked = write_gallery()
    linked = write_linked(gallery)
    table = read_identities(linked)
    if folder:
        asked = tmp_path / "town"
        asked.mkdir()
        gallery = gallery.rename(asked / gallery.name)
        names = {"gallery": np.repeat(["town"], 4), "tracklet_id": open_gallery(asked).columns["tracklet_id"]}
        about = {**table.about, "galleries": [{"path": "town", "rows": 4}]}
        table = Identities({**table.columns, **names}, about)
    start = 10.0 * np.arange(4)
    times = {"start_seconds": start, "end_seconds": start + 5}
    write_identities(Identities({**table.columns, **times}, table.about), linked)
    forgetting.forget([asked], Selection(identities=[2]), identities=linked, dry_run=True)
    times["end_seconds"][0] += 1
    write_identities(Identities({**table.columns, **times}, table.about), linked)
    before = gallery.read_bytes()
    with pytest.raises(
        InputError, match=r"town.parquet is another recording than the one that was linked.*: link it again"
    ):
        forgetting.forget([asked], Selection(identities=[2]), identities=linked)
    assert gallery.read_bytes() == before


def test_a_gallery_without_anybody_left_is_not_listed_by_the_identities(write_gallery, write_linked):
    north, south = write_gallery("north.parquet"), write_gallery("south.parquet")
    linked = write_linked(north, south)
    forget(south, tracklets=["track0", "track1", "track2", "track3"])
    left = read_identities(linked)
    assert left.about["galleries"] == [{"path": "north.parquet", "rows": 4}]
    assert set(left.columns["gallery"].tolist()) == {"north.parquet"}


def test_a_name_that_is_in_two_galleries_is_refused(write_gallery, tmp_path, tree):
    galleries = [write_gallery("north.parquet"), write_gallery("south.parquet")]
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"track1 is somebody in .*north\.parquet and somebody else in .*: name one"):
        forgetting.forget(galleries, Selection(tracklets=["track1"]))
    assert tree(tmp_path) == before


def test_pages_beside_identities_in_another_folder_go_too(write_gallery, write_linked, tmp_path):
    gallery = write_gallery()
    beside = write_linked(gallery)
    (tmp_path / "linked").mkdir()
    moved = read_identities(beside).moved(tmp_path, tmp_path / "linked")
    named = tmp_path / "linked" / "people.parquet"
    write_identities(moved, named)
    page = tmp_path / "linked" / "people.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="vreid-source" content="identities people.parquet">'
    )
    forgetting.forget([gallery], Selection(identities=[1]), identities=named)
    assert not page.exists()
    for file in (named, beside):
        assert read_identities(file).columns["tracklet_id"].tolist() == ["track2", "track3"]


def test_tracks_that_embed_keeps_lose_the_lines_of_the_forgotten(write_gallery, tmp_path):
    gallery = write_gallery()
    tracks = tmp_path / "town.tracks.txt"
    tracks.write_text("1,0,5,5,20,40,1\n1,1,9,5,20,40,1\n2,0,5,5,20,40,1\n2,10,9,5,20,40,1\n")
    assert forget(gallery, tracklets=["track0"]).removed.boxes == 2
    assert tracks.read_text() == "1,1,9,5,20,40,1\n2,10,9,5,20,40,1\n"


def test_a_gallery_is_forgotten_behind_a_symbolic_link(write_gallery, tmp_path):
    gallery = write_gallery()
    link = tmp_path / "link.parquet"
    link.symlink_to(gallery)
    forget(link, tracklets=["track0"])
    assert link.is_symlink()
    assert len(open_gallery(gallery)) == 3


def test_who_was_seen_before_a_moment_is_forgotten(write_gallery):
    gallery = write_gallery(recorded_at="2026-05-04T12:00:00+02:00")
    noon = datetime.datetime(2026, 5, 4, 10, 0, 20, tzinfo=datetime.UTC)  # track1 ended at 15 seconds, track2 at 25
    assert forget(gallery, before=noon).tracklets == ["track0", "track1"]
    assert forget(gallery, before=noon).tracklets == []


def test_who_is_kept_too_long_is_forgotten(write_gallery, capsys):
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=7, seconds=20)
    gallery = write_gallery(recorded_at=long_ago.isoformat(), retention_days=7)
    assert command.main(["forget", str(gallery), "--expired", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["galleries"]
    assert outcome["tracklets"] == ["track0", "track1"]
    assert (
        "town.mp4, from which the gallery was made, is not changed: embedded again, they are back"
        in outcome["not_covered"]
    )


def test_a_gallery_without_anybody_left_is_removed_with_its_pictures(kept, tmp_path):
    outcome = forget(kept, tracklets=["track0", "track1", "track2", "track3"])
    assert shown(tmp_path) == {"mine.html", "other.html", "others.html"}
    assert "town.parquet is gone: nobody else was in it" in outcome.proof


@pytest.mark.parametrize("step", ["_remove_pictures", "_remove_beside", "_remove_identities", "_remove_rows"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("names", [["track0"], ["track0", "track1", "track2", "track3"]])
def test_a_forget_that_was_killed_is_finished_by_the_next(kept, tmp_path, monkeypatch, step, when, names):
    whole = getattr(removal, step)

    def killed(*arguments):
        if when == "after":
            whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(removal, step, killed)
    with pytest.raises(KeyboardInterrupt):
        forget(kept, tracklets=names)
    monkeypatch.setattr(removal, step, whole)
    outcome = forget(kept, tracklets=names)
    assert outcome.tracklets == outcome.resumed == names
    left = shown(tmp_path)
    if len(names) == 4:
        assert left == {"mine.html", "other.html", "others.html"}
    else:
        assert "track0" not in open_gallery(kept).columns["tracklet_id"].tolist()
        assert "track0" not in read_identities(tmp_path / "identities.parquet").columns["tracklet_id"].tolist()
        assert not (tmp_path / "town.parquet.frames" / "track0").exists()
        assert not journal_of(kept).exists()


def test_what_is_still_there_is_not_called_forgotten(kept, monkeypatch):
    monkeypatch.setattr(removal, "_remove_rows", lambda plan, removed: None)
    with pytest.raises(
        RuntimeError, match=r"not everything is gone: .*town.parquet names track0; give the same command"
    ):
        forget(kept, tracklets=["track0"])
    monkeypatch.undo()
    assert forget(kept, tracklets=["track0"]).resumed == ["track0"]


def test_pictures_of_somebody_else_are_not_removed(kept, tmp_path, tree):
    (tmp_path / "town.parquet.frames" / "track1" / "holiday.jpg").write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="has 3 pictures, and track1 was 2 of them: it is not clear whose they are"):
        forget(kept, tracklets=["track1"])
    assert tree(tmp_path) == before
    (tmp_path / "town.parquet.frames" / "track0" / "notes.txt").write_text("mine")
    forget(kept, tracklets=["track0"])
    assert [file.name for file in (tmp_path / "town.parquet.frames" / "track0").iterdir()] == ["notes.txt"]


def test_a_vector_that_somebody_else_has_too_is_not_proof_and_not_an_obstacle(write_gallery):
    from vreid_jax.search.gallery import make_table, pyarrow

    path = write_gallery()
    gallery = open_gallery(path)
    vectors = np.stack([gallery.vectors[0]] * 4)
    columns = {name: values.tolist() for name, values in gallery.columns.items()}
    pyarrow().parquet.write_table(make_table(vectors, columns, gallery.about), path)
    assert forget(path, tracklets=["track0"]).removed.rows_left == 3


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--tracklet=nobody"], "nobody is not a tracklet of "),
        (["--identity=1", "--identity=9"], "identity 9 has no tracklet in "),
        (["--identity=9"], "identity 9 has no tracklet in "),
        (["--identity=0"], "--identity=0 is not a person: "),
        (["--identity=1", "--identity=-1"], "--identity=-1 is not a person: "),
        (["--before=yesterday"], "--before=yesterday is not a date such as 2026-05-04"),
        (["--before=2026-05-04"], "does not say when it was recorded, so its tracklets have no date"),
        (["--expired"], "does not say when it was recorded"),
        (["--identity=1", "--identities=missing.parquet"], "there is no file of identities missing.parquet"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(kept, tmp_path, tree, capsys, flags, sentence):
    before = tree(tmp_path)
    assert command.main(["forget", str(kept), *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_times_that_are_not_known_and_periods_that_are_not_stated_are_sentences(write_gallery):
    with pytest.raises(InputError, match="does not say for how long its tracklets may be kept"):
        forget(write_gallery(recorded_at="2026-05-04T12:00:00+00:00"), expired=True)
    with pytest.raises(InputError, match="states recorded_at='noon', which is not a date and time"):
        forget(write_gallery("noon.parquet", recorded_at="noon"), expired=True)
    with pytest.raises(InputError, match="by one of --tracklet, --identity, --before and --expired"):
        Selection()


def test_in_a_folder_only_the_files_that_hold_the_person_are_written_anew(made_folder, tree, vreid):
    folder = made_folder()
    before = tree(folder)
    whole = open_gallery(folder)
    name, vector = whole.columns["tracklet_id"][4], whole.vectors[4].tobytes()
    index = folder.with_name("town.index")
    index.mkdir()
    (index / "files.json").write_text("{}")
    code, _, error = vreid(
        "link", folder, "--false-accept-rate=0.5", f"--out={folder.parent / 'who.parquet'}", "--threshold=1"
    )
    assert code == 0, error
    code, _, error = vreid("forget", folder, f"--tracklet={name}")
    assert code == 0, error
    after = tree(folder)
    assert sorted(file for file in before if before[file] != after[file]) == ["camera=1/date=2026-03-02/a.parquet"]
    assert vector in before["camera=1/date=2026-03-02/a.parquet"]
    assert not any(vector in content for content in after.values())
    assert open_gallery(folder).columns["tracklet_id"].tolist() == [
        each for each in whole.columns["tracklet_id"].tolist() if each != name
    ]
    assert not index.exists()
    linked = read_identities(folder.parent / "who.parquet").columns["tracklet_id"].tolist()
    assert name not in linked
    assert len(linked) == 11
    code, _, error = vreid("forget", folder, "--tracklet=nobody")
    assert (code, f"nobody is not a tracklet of {folder}" in error) == (2, True)


def test_in_a_folder_those_before_a_moment_are_forgotten_and_empty_files_go(made_folder, vreid):
    folder = made_folder()
    code, out, error = vreid("forget", folder, "--before=2026-03-02T00:00+00:00", "--json")
    assert code == 0, error
    assert sorted(path.name for path in folder.glob("*/*")) == ["date=2026-03-02"] * 2
    assert len(open_gallery(folder)) == 6
    assert sum(each["removed"]["rows"] for each in json.loads(out)["galleries"]) == 6


@pytest.mark.parametrize("dry_run", [True, False])
def test_pictures_that_adapting_left_and_names_in_audit_logs_are_said(write_gallery, tmp_path, dry_run):
    gallery = write_gallery(input="/cameras/town.mp4")
    cut = {"adapted": '{"video": ["town.mp4", 9, "a"]}', "other": '{"video": ["uptown.mp4", 9, "b"]}', "damaged": "["}
    for name, record in {**cut, "town.parquet": cut["adapted"]}.items():
        (tmp_path / f"{name}.frames").mkdir(exist_ok=True)
        (tmp_path / f"{name}.frames" / ".cut.json").write_text(record)
    (outcome,) = forgetting.forget([gallery], Selection(tracklets=["track1"]), dry_run=dry_run)
    (said,) = (words for words in outcome.not_covered if ".frames" in words)
    assert said.startswith(f"{tmp_path / 'adapted.frames'} has other pictures that were cut out of /cameras/town.mp4")
    assert "the names that people were given in corrections" in outcome.not_covered[-1]


def test_pictures_that_are_the_input_itself_stay(write_gallery, tmp_path):
    pictures, own = tmp_path / "town.parquet.frames", tmp_path / "people"
    own.mkdir()
    (own / "track1").symlink_to(pictures / "track1")  # what is embedded may lie elsewhere
    outcome = forget(write_gallery(input=str(own)), tracklets=["track1"])
    assert outcome.removed.pictures == 0
    assert len(list((pictures / "track1").iterdir())) == 2
    assert f"the pictures lie in {own}, which is not changed: remove them there" in outcome.not_covered


def test_a_dry_run_names_the_folders_of_pictures(write_gallery, tmp_path):
    (outcome,) = forgetting.forget([write_gallery()], Selection(tracklets=["track1"]), dry_run=True)
    assert outcome.would_remove == [str(tmp_path / "town.parquet.frames" / "track1")]
