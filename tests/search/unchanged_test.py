"""What was made of a file is written only if that is still the file that was read, and nobody is forgotten meanwhile."""

import contextlib
import os
import threading

import pytest

from vreid_jax.errors import InputError
from vreid_jax.search import unchanged as module
from vreid_jax.search.unchanged import gallery_stamps, held, stamps_of, unchanged

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "town.parquet"
    path.write_text("everybody")
    return path


def replace(path, text):
    half = path.with_name("half")
    half.write_text(text)
    os.replace(half, path)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("change", [lambda path: replace(path, "everybody"), lambda path: replace(path, "few"), remove])
def test_a_file_that_is_another_one_is_a_sentence_and_nothing_is_written(file, change):
    read = stamps_of([file])
    with unchanged(read):
        pass
    change(file)
    sentence = r"town.parquet has changed since it was read: give the same command again"
    with pytest.raises(InputError, match=sentence), unchanged(read):
        pytest.fail("it was written")


def test_a_file_that_came_meanwhile_has_changed(file):
    read = stamps_of([file, file.with_name("later.parquet")])
    file.with_name("later.parquet").touch()
    with pytest.raises(InputError, match=r"later.parquet has changed"), unchanged(read):
        pass


def test_a_file_is_held_by_one_whatever_link_leads_to_it_and_let_go(file, tmp_path):
    link = tmp_path / "link.parquet"
    link.symlink_to(file)
    with held([link, file]):
        assert [path.name for path in tmp_path.glob(".*")] == [".town.parquet.forget.lock"]
        sentence = r"another process forgets in .*/town.parquet, or writes what it has made of it"
        with pytest.raises(InputError, match=sentence), unchanged(stamps_of([link])):
            pytest.fail("it was written")
    with held([file]):
        pass
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_held_for_a_moment_is_waited_for(file, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 30.0)
    with contextlib.ExitStack() as other:
        other.enter_context(held([file]))
        threading.Timer(0.1, other.pop_all().close).start()
        with unchanged(stamps_of([file])):
            pass


def test_more_files_than_a_process_may_open_are_held(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = [tmp_path / f"{number}.parquet" for number in range(module._FEW * 2)]
    few = max(map(int, os.listdir("/dev/fd"))) + module._FEW
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        with held(files):
            assert len(list(tmp_path.iterdir())) == len(files)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_in_a_folder_that_may_not_be_written_there_is_no_lock(file, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with unchanged(stamps_of([file])):
        assert [path.name for path in tmp_path.iterdir()] == ["town.parquet"]


def test_the_files_of_a_folder_of_galleries_are_stamped_and_nothing_else_in_it(made_folder):
    folder = made_folder()
    (folder / "notes.txt").touch()
    (folder / "town.parquet.parts").mkdir()
    (folder / "town.parquet.parts" / "000000.parquet").touch()
    assert sorted(path.name for path in gallery_stamps(folder)) == ["a.parquet"] * 4
    assert gallery_stamps("s3://bucket/folder") == {}
