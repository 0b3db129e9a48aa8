"""Whom a command has read before another process forgot them, it does not bring back."""

from types import SimpleNamespace

import pytest

pytest.importorskip("pyarrow")

from vreid_jax import forgetting, linking
from vreid_jax.errors import InputError
from vreid_jax.forgetting import Selection
from vreid_jax.linking import linker
from vreid_jax.linking.corrections import read_corrections
from vreid_jax.linking.identities import read_identities
from vreid_jax.report import gallery_page, identities_page
from vreid_jax.search import gallery as galleries
from vreid_jax.search import unchanged
from vreid_jax.search.gallery import open_gallery, replace_about

CHANGED = "has changed since it was read: give the same command again"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(unchanged, "WAIT_SECONDS", 0.0)


@pytest.fixture
def forget_during(monkeypatch):
    """`forget_during(module, name, gallery)` forgets track1 of a gallery when a function is called next."""

    def prepare(module, name, gallery):
        real = getattr(module, name)

        def during(*arguments, **options):
            monkeypatch.setattr(module, name, real)
            forget(gallery)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, during)

    return prepare


def forget(gallery, name="track1"):
    (outcome,) = forgetting.forget([gallery], Selection(tracklets=[name]))
    assert outcome.proof


def names(gallery):
    return open_gallery(gallery).columns["tracklet_id"].tolist()


def test_while_metadata_are_replaced_nobody_is_forgotten(write_gallery, forget_during):
    gallery = write_gallery()
    forget_during(galleries, "_copy", gallery)
    with pytest.raises(
        InputError, match=r"another process forgets in .*town.parquet, or writes what it has made of it"
    ):
        replace_about(gallery, retention_days=3)
    assert len(names(gallery)) == 4
    forget(gallery)
    assert names(gallery) == ["track0", "track2", "track3"]


def test_calibrate_does_not_bring_back_who_was_forgotten_while_it_measured(
    write_gallery, forget_during, vreid, monkeypatch
):
    gallery = write_gallery()
    measured = SimpleNamespace(as_metadata=dict)
    monkeypatch.setattr(linking, "measure", lambda *arguments, **options: measured)
    forget_during(linking, "measure", gallery)
    code, _, error = vreid("calibrate", gallery, "--no-pieces")
    assert (code, CHANGED in error) == (2, True), error
    assert names(gallery) == ["track0", "track2", "track3"]


@pytest.mark.parametrize("new", [False, True])
def test_link_does_not_bring_back_who_was_forgotten_while_it_linked(
    write_gallery, write_linked, forget_during, vreid, tmp_path, tree, new
):
    gallery = write_gallery()
    linked = write_linked(gallery)
    forget_during(linker, "pairs_within", gallery)
    to = [gallery, f"--out={tmp_path / 'new.parquet'}"] if new else [f"--into={linked}"]
    code, _, error = vreid("link", *to, "--threshold=0.2", "--quiet")
    assert (code, CHANGED in error) == (2, True), error
    assert read_identities(linked).columns["tracklet_id"].tolist() == ["track0", "track2", "track3"]
    assert not (tmp_path / "new.parquet").exists()
    assert not [name for name in tree(tmp_path) if name.endswith(".partial")]
    code, _, error = vreid("link", *to, "--threshold=0.2", "--quiet")
    assert code == 0, error


def test_identities_that_two_change_at_once_keep_both_changes(write_gallery, write_linked, forget_during, monkeypatch):
    """Before the second could write what it read before the first one's change."""
    from vreid_jax.forgetting import removal

    north, south = write_gallery("north.parquet"), write_gallery("south.parquet")
    linked = write_linked(north, south)
    forget_during(removal, "write_identities", south)
    with pytest.raises(InputError, match=r"another process forgets in .*identities.parquet, or"):
        forget(north)
    for gallery in (north, south):
        forget(gallery)
    assert read_identities(linked).columns["tracklet_id"].tolist() == ["track0", "track2", "track3"] * 2


@pytest.mark.parametrize("kind", ["gallery", "identities"])
def test_a_page_does_not_show_who_was_forgotten_while_it_was_made(
    write_gallery, write_linked, forget_during, tmp_path, vreid, kind
):
    gallery = write_gallery()
    linked = write_linked(gallery)
    page = tmp_path / "page.html"
    forget_during(gallery_page if kind == "gallery" else identities_page, "write_page", gallery)
    if kind == "gallery":
        code, _, error = vreid("report", gallery, f"--out={page}")
        assert (code, CHANGED in error) == (2, True), error
    else:
        with pytest.raises(InputError, match=CHANGED):
            identities_page.write_identities_page(linked, page)
    assert not page.exists()


def test_a_correction_does_not_name_who_was_forgotten(write_gallery, write_linked):
    pytest.importorskip("fastapi")
    from vreid_jax.serving.identities import Identities
    from vreid_jax.serving.people import open_people
    from vreid_jax.serving.refusal import Refusal

    gallery = write_gallery()
    linked = write_linked(gallery)
    served = Identities(linked, open_people([gallery]))
    correction = served.correction("name", [("town.parquet", "track1")], [], "Ann")
    forget(gallery)
    with pytest.raises(Refusal):
        served.add(correction)
    assert read_corrections(linked) == ()
