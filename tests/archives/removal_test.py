"""Who is forgotten in a database is gone from its rows, its versions and its bytes."""

import datetime

import numpy as np
import pytest

from vreid_jax import forgetting
from vreid_jax.archives import approximate, database, removal
from vreid_jax.archives.database import open_database, push
from vreid_jax.errors import InputError
from vreid_jax.search.gallery_files import open_files

pytest.importorskip("lance")


@pytest.fixture
def town(made_folder, tmp_path):
    address = tmp_path / "town.lance"
    push(open_files(made_folder(dimensions=16, retention_days=7)), address)
    approximate.maintain(open_database(address))
    return address


def contents(folder):
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def test_a_tracklet_is_gone_to_the_last_byte(town, vreid):
    before = open_database(town).dataset.to_table().to_pydict()
    name, other = before["key"][4], before["key"][5]
    vector, stays = (np.array(before["vector"][row], np.float32).tobytes() for row in (4, 5))
    assert any(vector in content for content in contents(town))
    code, out, error = vreid("forget", town, f"--tracklet={name}")
    assert code == 0, error
    assert f"forgot 1 tracklet: {name}; 11 stay" in out
    assert not any(vector in content or name.encode() in content for content in contents(town))
    assert any(stays in content for content in contents(town))
    assert other in open_database(town).dataset.to_table().column("key").to_pylist()
    assert len(open_database(town).dataset.versions()) == 1
    code, _, error = vreid("forget", town, f"--tracklet={name}")
    assert (code, "is not a tracklet of" in error) == (2, True)


def test_a_name_that_begins_another_one_is_forgotten(write_made_gallery, tmp_path):
    gallery = write_made_gallery(tmp_path / "a.parquet", dimensions=16, names=["track1000", "track10000", "track2"])
    push(open_files(gallery), tmp_path / "town.lance")
    names = open_database(tmp_path / "town.lance").dataset.to_table().column("key").to_pylist()
    done = removal.forget(open_database(tmp_path / "town.lance"), tracklets=names[:1])
    assert (done.rows_left, done.tracklets) == (2, names[:1])


def test_a_push_does_not_bring_back_who_was_forgotten_while_it_read(write_made_gallery, tmp_path, monkeypatch):
    gallery, address = write_made_gallery(tmp_path / "a.parquet", dimensions=16), tmp_path / "town.lance"
    push(open_files(gallery), address)
    name = open_database(address).dataset.to_table().column("key")[1].as_py()
    merged = database._table

    def forget_meanwhile(*arguments):
        monkeypatch.setattr(database, "_table", merged)
        forgetting.forget([gallery], forgetting.Selection(tracklets=["track1"]))
        removal.forget(open_database(address), tracklets=[name])
        return merged(*arguments)

    monkeypatch.setattr(database, "_table", forget_meanwhile)
    with pytest.raises(InputError, match=r"a.parquet has changed since it was read: give the same command again"):
        push(open_files(gallery), address)
    assert name not in open_database(address).dataset.to_table().column("key").to_pylist()


def test_bytes_that_are_left_are_found(town, monkeypatch):
    monkeypatch.setattr(removal, "_write_anew", lambda database: None)
    name = open_database(town).dataset.to_table().column("key")[4].as_py()
    with pytest.raises(RuntimeError, match=r"not everything is gone: .* earlier versions are there"):
        removal.forget(open_database(town), tracklets=[name])


def test_a_name_that_is_not_there_changes_nothing(town):
    before = len(open_database(town).dataset.versions())
    for dry_run in (True, False):
        with pytest.raises(InputError, match="nobody is not a tracklet of"):
            removal.forget(open_database(town), tracklets=["nobody"], dry_run=dry_run)
    assert len(open_database(town).dataset.versions()) == before > 1


@pytest.mark.parametrize("how", ["tracklets", "before"])
def test_a_call_that_was_killed_is_finished_by_the_next(town, monkeypatch, how):
    row = open_database(town).dataset.to_table().to_pylist()[0]
    moment = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    who = {"tracklets": [row["key"]]} if how == "tracklets" else {"before": moment}
    vector = np.array(row["vector"], np.float32).tobytes()

    def killed(database):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(removal, "_write_anew", killed)
        with pytest.raises(KeyboardInterrupt):
            removal.forget(open_database(town), **who)
    assert any(vector in content for content in contents(town))
    if how == "tracklets":
        with pytest.raises(InputError, match="is not a tracklet of"):
            removal.forget(open_database(town), **who)
    else:
        assert removal.forget(open_database(town), **who).tracklets == []
    assert not any(vector in content for content in contents(town))
    assert removal._BEGUN not in open_database(town).dataset.config()


def test_those_without_a_date_are_counted(town, write_made_gallery, tmp_path):
    push(open_files(write_made_gallery(tmp_path / "a.parquet", dimensions=16, recorded_at=None)), town)
    done = removal.forget(open_database(town), before=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    assert done.not_covered == ["3 tracklets of which it is not known when they ended: forget them by --tracklet"]


def test_those_before_a_moment_and_those_kept_too_long_are_forgotten(town):
    moment = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    dry = removal.forget(open_database(town), before=moment, dry_run=True)
    assert (len(dry.tracklets), len(open_database(town))) == (6, 12)
    done = removal.forget(open_database(town), before=moment)
    assert (len(done.tracklets), done.rows_left) == (6, 6)
    assert removal.forget(open_database(town), expired=True).rows_left == 0


def test_a_name_may_have_a_quote_in_it():
    assert database.quoted("o'hara") == "'o''hara'"


def test_identities_are_not_in_a_database(town, vreid):
    code, _, error = vreid("forget", town, "--identity=3")
    assert (code, "a database has no identities" in error) == (2, True)
    with pytest.raises(InputError, match="nobody is not a tracklet of"):
        removal.forget(open_database(town), tracklets=["nobody"])
