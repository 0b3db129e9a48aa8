"""What every job has been without a kill: a finished run of the toy system, and how each command ended."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.crash import jobs, killing


@dataclasses.dataclass(frozen=True)
class Uninterrupted:
    """A job that nobody killed: its folder, how it ended with all programs in the cache, and what it left."""

    folder: Path
    ended: killing.Ended
    outcome: dict[str, Any]
    names: list[str]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where jobs run: the folder of all that they share, and that of the datasets."""

    root: Path
    data: Path
    uninterrupted: dict[str, Uninterrupted] = dataclasses.field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """Where programs that were compiled once are kept."""
        return self.root / "cache"

    @property
    def finished(self) -> Path:
        """The finished run that some jobs read."""
        return self.root / "finished" / "run"

    def arguments(self, name: str, folder: Path) -> list[str]:
        """Return the arguments of a job that writes to `folder`."""
        return jobs.JOBS[name].arguments(folder, self.finished, self.data)

    def whole(self, name: str) -> Uninterrupted:
        """Run a job twice, once in a session; the second time all programs are in the cache."""
        if name not in self.uninterrupted:
            first, second = (self._run(name, self.root / f"{name}{number}") for number in (1, 2))
            different = jobs.differences(first.outcome, second.outcome)
            assert not different, f"without a kill, two runs differ: {different}"
            self.uninterrupted[name] = second
        return self.uninterrupted[name]

    def _run(self, name: str, folder: Path) -> Uninterrupted:
        folder.mkdir()
        ended = killing.run(self.arguments(name, folder), folder, self.cache)
        assert ended.code == 0, ended.said
        return Uninterrupted(folder, ended, jobs.JOBS[name].outcome(folder), jobs.names(folder))


@pytest.fixture(scope="session")
def bench(data_dir, tmp_path_factory):
    """The places that jobs share, and the finished run."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processor times of other processes are read from /proc, which is Linux's")
    made = Bench(tmp_path_factory.mktemp("bench"), data_dir)
    made._run("train", made.finished.parent)
    return made
