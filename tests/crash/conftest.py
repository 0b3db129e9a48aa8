"""What every job has been without a kill: a finished run of the toy system, and how each command ended."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash import jobs, killing


@dataclasses.dataclass(frozen=True)
class Uninterrupted:
    """A job that nobody killed: how it ended with all programs in the cache, and what it left."""

    ended: killing.Ended
    outcome: dict[str, Any]
    names: list[str]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where jobs run: their datasets, the finished run that some of them read, and a cache of compiled programs."""

    data: Path
    finished: Path
    cache: Path
    uninterrupted: dict[str, Uninterrupted] = dataclasses.field(default_factory=dict)

    def arguments(self, name: str, folder: Path) -> list[str]:
        """Return the arguments of a job that writes to `folder`."""
        return jobs.JOBS[name].arguments(folder, self.finished / "run", self.data)

    def whole(self, name: str, folder: Path) -> Uninterrupted:
        """Run a job twice, in two folders named after `folder`, the second time with all programs in the cache."""
        if name not in self.uninterrupted:
            found = []
            for place in (folder, folder.with_name(f"{folder.name}_again")):
                place.mkdir()
                ended = killing.run(self.arguments(name, place), place, self.cache)
                assert ended.code == 0, ended.said
                found.append(Uninterrupted(ended, jobs.JOBS[name].outcome(place), jobs.names(place)))
            assert not jobs.differences(found[0].outcome, found[1].outcome), "the job itself is not reproducible"
            self.uninterrupted[name] = found[1]
        return self.uninterrupted[name]


@pytest.fixture(scope="session")
def bench(data_dir, tmp_path_factory):
    """The places that jobs share."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processor times of other processes are read from /proc, which is Linux's")
    root = tmp_path_factory.mktemp("bench")
    made = Bench(data_dir, root / "finished", root / "cache")
    made.finished.mkdir()
    ended = killing.run(made.arguments("train", made.finished), made.finished, made.cache)
    assert ended.code == 0, ended.said
    assert sys.platform == "linux"
    return made
