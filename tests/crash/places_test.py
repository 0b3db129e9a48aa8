"""Full disks, read-only folders and clocks set back: one sentence, nothing lost, and the job goes on afterwards."""

import contextlib
import os
import subprocess
import time

import pytest

from tests.crash import jobs, killing

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

PAGE = 4096  # what a disk in memory gives at least to each file
YEAR = 365 * 86400.0


def mount(*arguments):
    """Mount, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a full disk and a read-only folder are mounted, which needs root: {done.stderr.strip()}")


@contextlib.contextmanager
def unmounted_at_the_end(folder):
    """Whatever is mounted on a folder, let go of it."""
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def assert_one_sentence(ended):
    assert ended.code in (1, 2), f"exit code {ended.code}: {ended.said[-3000:]}"
    assert "Traceback" not in ended.said, ended.said[-3000:]
    assert sum(line.startswith("vreid") for line in ended.said.splitlines()) == 1, ended.said[-3000:]


def assert_goes_on(name, bench, folder, clock=None):
    """Run the job to its end, which must be what the uninterrupted one left."""
    ended = killing.run(bench.arguments(name, folder), folder, bench.cache, clock=clock)
    assert ended.code == 0, ended.said[-3000:]
    assert jobs.names(folder) == bench.uninterrupted[name].names
    assert not jobs.differences(bench.uninterrupted[name].outcome, jobs.JOBS[name].outcome(folder))


def half_done(name, bench, folder):
    """Kill a job before the change in the middle of all that it makes."""
    folder.mkdir()
    moment = killing.Moment(change=bench.uninterrupted[name].ended.changes // 2)
    assert killing.run(bench.arguments(name, folder), folder, bench.cache, moment).killed


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("name", "share"),
    [("train", 0.1), ("train", 0.5), ("train", 0.9), ("embed", 0.5), ("embed", 2), ("convert", 0.5), ("report", 0.5)],
)
def test_a_full_disk_is_one_sentence_and_with_room_the_job_goes_on(name, share, bench, tmp_path):
    """The disk has a share of what the finished output takes; a gallery takes as much again in parts."""
    whole = bench.whole(name)
    sizes = [path.stat().st_size for path in whole.folder.rglob("*") if path.is_file()]
    pages = sum(-(-size // PAGE) for size in sizes)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={max(1, int(share * pages)) * PAGE}", "none", folder)
    with unmounted_at_the_end(folder):
        assert_one_sentence(killing.run(bench.arguments(name, folder), folder, bench.cache))
        mount("-o", "remount,size=64m", folder)
        assert_goes_on(name, bench, folder)


@pytest.mark.parametrize("name", jobs.JOBS)
def test_a_read_only_folder_is_one_sentence_and_stays_as_it_is(name, bench, tmp_path):
    bench.whole(name)
    folder = tmp_path / "folder"
    half_done(name, bench, folder)
    before = contents(folder)
    mount("--bind", folder, folder)
    with unmounted_at_the_end(folder):
        mount("-o", "remount,bind,ro", folder)
        assert_one_sentence(killing.run(bench.arguments(name, folder), folder, bench.cache))
    assert contents(folder) == before
    assert_goes_on(name, bench, folder)


@pytest.mark.parametrize("name", ["train", "embed"])
def test_a_clock_set_back_by_a_year_changes_nothing(name, bench, tmp_path):
    """What is there is of tomorrow, and the clock of the process that goes on runs backwards from a year ago."""
    bench.whole(name)
    folder = tmp_path / "folder"
    half_done(name, bench, folder)
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    assert_goes_on(name, bench, folder, clock=-YEAR)
