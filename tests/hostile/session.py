"""A session: all readers on so many inputs, in processes that may crash, and the report of it."""

import collections
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hostile import judge

STUCK_SECONDS = 600
_TESTS = Path(__file__).parents[1]


@dataclasses.dataclass
class Report:
    """Counts of outcomes by reader, and what failed, as lines (reader, number, what was done, what was said)."""

    counts: dict[str, collections.Counter] = dataclasses.field(default_factory=lambda: collections.defaultdict(collections.Counter))  # fmt: skip
    failures: list[tuple[str, int, str, str]] = dataclasses.field(default_factory=list)

    def add(self, reader: str, number: int, outcome: judge.Outcome) -> None:
        """Count an outcome."""
        self.counts[reader][outcome.kind] += 1
        if outcome.kind == "failed":
            self.failures.append((reader, number, outcome.done, outcome.said))

    def table(self) -> str:
        """Return the counts as text, and below them every failure."""
        kinds = ("right", "refused", "failed")
        total = sum(self.counts.values(), collections.Counter())
        lines = [f"{'reader':20}{'inputs':>8}" + "".join(f"{kind:>9}" for kind in kinds)]
        for name, counts in (*self.counts.items(), ("all", total)):
            lines.append(f"{name:20}{sum(counts.values()):8}" + "".join(f"{counts[kind]:9}" for kind in kinds))
        lines += [f"{reader} {number}: {done}\n    {said}" for reader, number, done, said in self.failures]
        return "\n".join(lines)


def all_readers(toy) -> list[judge.Reader]:
    """Return all readers; `toy` is a configuration of the toy system whose dataset is built."""
    from hostile import archives, configurations, footage, stored

    return [*configurations.readers(toy), *stored.readers(toy), *footage.readers(), *archives.readers()]


class Session:
    """The readers and their judge in this process; the toy system is registered and its dataset built."""

    def __init__(self, folder: Path, seed: int, only: str = ""):
        from vreid_jax import datasets

        spec = importlib.util.spec_from_file_location("toy_config", _TESTS / "toy_config.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        toy = module.get_config("walkers")
        toy.data.data_dir = str(folder / "datasets")
        datasets.load_builder("walkers/tiny", data_dir=folder / "datasets", progress=False)
        self.readers = [reader for reader in all_readers(toy) if only in ("", reader.name)]
        self.court = judge.Court(Path(tempfile.mkdtemp(dir=folder)), seed)


def plan(readers: list[judge.Reader], count: int) -> list[tuple[str, int]]:
    """Return which inputs of which readers are tried: about `count` in all, by their shares."""
    shares = sum(reader.share for reader in readers)
    return [(reader.name, n) for reader in readers for n in range(max(1, round(count * reader.share / shares)))]


def in_processes(folder: Path, seed: int, count: int, only: str = "") -> Report:
    """Try `count` inputs in a process beside this one, which is replaced whenever an input kills or stops it."""
    report, start, last = Report(), 0, None
    with (folder / "stderr.txt").open("w+", errors="replace") as errors:
        while True:
            command = [sys.executable, "-m", "hostile.session", str(folder), str(seed), str(count), only, str(start)]
            path = os.pathsep.join([str(_TESTS), str(_TESTS.parent), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as worker:
                assert worker.stdout is not None
                for line in worker.stdout:
                    said = json.loads(line)
                    if "kind" in said:
                        last = None
                        report.add(
                            said["reader"], said["number"], judge.Outcome(said["kind"], said["done"], said["said"])
                        )
                        if said["kind"] == "failed":
                            print(f"{said['reader']} {said['number']}: {said['done']}\n    {said['said']}", flush=True)
                    else:
                        last = said
            if last is None:
                assert worker.returncode == 0, "the worker cannot start"
                return report
            errors.seek(0)
            end = f"the process ended with {worker.returncode}: {''.join(errors.readlines()[-1:])}"
            report.add(last["reader"], last["number"], judge.Outcome("failed", "", end))
            print(f"{last['reader']} {last['number']}: {end}", flush=True)
            start, last = last["place"] + 1, None


def _work(folder: Path, seed: int, count: int, only: str, start: int) -> None:
    """Try the planned inputs from `start` on; a line is printed before and after each of them."""
    import faulthandler

    session = Session(folder, seed, only)
    by_name = {reader.name: reader for reader in session.readers}
    for place, (name, number) in list(enumerate(plan(session.readers, count)))[start:]:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)  # where even a signal does not get through
        about = {"reader": name, "number": number, "place": place}
        print(json.dumps(about), flush=True)
        outcome = session.court.outcome(by_name[name], number)
        print(json.dumps({**about, **dataclasses.asdict(outcome)}), flush=True)


if __name__ == "__main__":
    folder, seed, count, only, start = sys.argv[1:]
    _work(Path(folder), int(seed), int(count), only, int(start))
