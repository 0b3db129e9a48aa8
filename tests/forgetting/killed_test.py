"""A forget that is killed by the system, before one of the changes that it makes to the disk, is finished by the next."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("pyarrow")

from vreid_jax.linking.identities import read_identities
from vreid_jax.search.gallery import open_gallery

# Kills the process before its N-th change below a folder, counted from 0; prints how many there were.
PROGRAM = """
import os, signal, sys
from vreid_jax.cli import command
folder, number = sys.argv[1], int(sys.argv[2])
changes = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
seen = 0
def hook(event, arguments):
    global seen
    writes = event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (event in changes or writes) and (not os.path.isabs(str(arguments[0])) or str(arguments[0]).startswith(folder)):
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
sys.addaudithook(hook)
code = command.main(["forget", os.path.join(folder, "town.parquet"), "--tracklet=track0", "--tracklet=track2"])
print("changes", seen)
sys.exit(code)
"""


def forget(folder, number):
    return subprocess.run([sys.executable, "-c", PROGRAM, str(folder), str(number)], capture_output=True, text=True)


@pytest.mark.slow
def test_a_killed_forget_is_finished_by_the_same_command(kept, tmp_path, tree):
    town, spare = tmp_path, tmp_path.with_name(f"{tmp_path.name}-as-it-was")
    shutil.copytree(town, spare)
    done = forget(town, -1)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split("changes")[1])
    wanted = {name for name in tree(town) if not name.endswith(".lock")}
    assert count > 12
    for number in sorted({0, 1, 2, count // 4, count // 2, 3 * count // 4, count - 3, count - 2, count - 1}):
        shutil.rmtree(town)
        shutil.copytree(spare, town)
        assert forget(town, number).returncode == -signal.SIGKILL, number
        again = forget(town, -1)
        # Killed before anything was noted, or after everything was done: the command then finds nobody of that name.
        assert again.returncode in (0, 2), (number, again.stderr)
        assert again.returncode == 0 or "is not a tracklet of" in again.stderr
        left = {
            name for name in tree(town) if not name.endswith(".lock") and not os.path.basename(name).startswith(".t")
        }
        assert left == wanted, number
        assert open_gallery(kept).columns["tracklet_id"].tolist() == ["track1", "track3"]
        linked = read_identities(town / "identities.parquet")
        assert linked.columns["tracklet_id"].tolist() == ["track1", "track3"]
    shutil.rmtree(spare)
