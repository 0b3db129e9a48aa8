"""Files and folders that appear in one piece."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vreid_jax import files
from vreid_jax.errors import InputError
from vreid_jax.files import UNFINISHED, atomic_file, atomic_folder, given_path, only_process, remove_unfinished


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _interrupted(path):
    path.write_text("ne")
    raise KeyboardInterrupt


def test_a_file_replaces_the_earlier_one_with_the_permissions_of_a_new_one(tmp_path):
    path, plain = tmp_path / "a.json", tmp_path / "plain"
    path.write_text("earlier")
    plain.touch()
    (tmp_path / "a.tmp").write_text("somebody's own")
    with atomic_file(path) as half:
        half.write_text("new")
        half.chmod(0o600)
        assert path.read_text() == "earlier"
    assert path.read_text() == "new"
    assert path.stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "a.tmp").read_text() == "somebody's own"
    assert contents(tmp_path) == ["a.json", "a.tmp", "plain"]


def test_behind_a_link_the_file_that_it_leads_to_is_replaced_and_the_link_stays(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.json").write_text("earlier")
    link = tmp_path / "a.json"
    link.symlink_to("disk/real.json")
    monkeypatch.chdir(tmp_path)
    with atomic_file("a.json") as half:
        half.write_text("new")
        assert half.parent == Path(os.path.realpath(tmp_path / "disk"))
        monkeypatch.chdir("disk")
    assert os.readlink(link) == "disk/real.json"
    assert (tmp_path / "disk" / "real.json").read_text() == "new"
    assert contents(tmp_path) == ["a.json", "disk", "disk/real.json"]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as half:
        _interrupted(half)
    assert contents(tmp_path) == ["a.json"]
    assert path.read_text() == "earlier"


@pytest.mark.parametrize("writes", ["atomic_file('a') as half: half", "atomic_folder('a') as half: (half / 'x')"])
def test_a_process_killed_while_it_writes_leaves_what_was_there_and_a_hidden_rest(writes, tmp_path, monkeypatch):
    """The jobs of tests/crash are killed at any moment; this is the moment that matters, in a process without JAX."""
    if "file" in writes:
        (tmp_path / "a").write_text("earlier")
    else:
        (tmp_path / "a").mkdir()
    code = f"import os; from vreid_jax.files import *\nwith {writes}.write_text('ne'); os.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == -signal.SIGKILL
    rest = [path for path in tmp_path.iterdir() if path.name != "a"]
    assert [(path.name[0], path.suffix) for path in rest] == [(".", UNFINISHED)]
    assert (tmp_path / "a").read_text() == "earlier" if "file" in writes else not any((tmp_path / "a").iterdir())
    monkeypatch.setattr(files, "YOUNG", 0.0)
    with atomic_file(tmp_path / "a.b"):  # of another name
        assert rest[0].exists()
    with contextlib.suppress(InputError), atomic_file(tmp_path / "a") as half, atomic_file(tmp_path / "a"):
        assert half.exists()  # this process still writes it
        assert not rest[0].exists()


def test_a_folder_appears_with_its_content_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "deep" / "out") as half:
        (half / "x").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert contents(tmp_path) == ["deep", "deep/out", "deep/out/x"]
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "other") as half:
        _interrupted(half / "x")
    assert contents(tmp_path) == ["deep", "deep/out", "deep/out/x"]


def test_a_folder_behind_a_link_stays_behind_it_and_the_current_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link") as half:
        (half / "x").write_text("1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "x").read_text() == "1"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", tmp_path / "here"):
        with (
            pytest.raises(InputError, match="here is the current folder: name a new one in it or beside it"),
            atomic_folder(name),
        ):
            raise AssertionError("never entered")


@pytest.mark.parametrize("way", [atomic_file, atomic_folder])
def test_what_cannot_be_written_is_named(tmp_path, way):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "inside"
    with pytest.raises(InputError, match=f"cannot write {path}: "), way(path):
        raise AssertionError("never entered")
    with pytest.raises(InputError, match=r"cannot write .*full: No space left on device"), way(tmp_path / "full"):
        raise OSError(28, "No space left on device")
    assert contents(tmp_path) == ["file"]


def test_what_killed_processes_left_is_removed_and_what_is_being_written_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "YOUNG", 0.0)
    left = tmp_path / "features" / ".a.npz.1234abcd.partial"
    left.parent.mkdir()
    left.write_text("half")
    (tmp_path / ".out.1234abcd.partial").mkdir()
    (tmp_path / ".out.1234abcd.partial" / "x").write_text("half")
    (tmp_path / "mine.partial").write_text("precious")
    with atomic_file(tmp_path / "b.json") as half, atomic_folder(tmp_path / "c") as folder:
        half.write_text("new")
        remove_unfinished(tmp_path)
        assert half.exists()
        assert folder.exists()
    assert contents(tmp_path) == ["b.json", "c", "features", "mine.partial"]


def test_a_second_writer_is_told_that_there_is_one(tmp_path):
    lock = tmp_path / ".a.lock"
    with only_process(lock, "somebody writes a", keep=False):
        with pytest.raises(InputError, match="somebody writes a"), only_process(lock, "somebody writes a"):
            pass
        assert lock.exists()
    assert contents(tmp_path) == []
    with only_process(lock, "somebody writes a"):
        pass


def test_a_home_that_is_not_there_is_one_sentence():
    assert given_path("~/a").is_absolute()
    with pytest.raises(InputError, match="the path ~nobody-of-this-name/a names a user who does not exist"):
        given_path("~nobody-of-this-name/a")


def write_often(path, times, failed):
    for number in range(times):
        try:
            with atomic_file(path) as half:
                half.write_text(f"{number}" * 1000)
        except InputError as error:
            failed.append(str(error))


def test_several_writers_of_one_file_do_not_remove_each_others(tmp_path):
    failed = []
    writers = [threading.Thread(target=write_often, args=(tmp_path / "one", 200, failed)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    assert contents(tmp_path) == ["one"]
