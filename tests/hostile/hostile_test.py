"""Every reader gives a right result or one sentence, whatever it gets; see the docstring of the package."""

import os
import time

import pytest

from hostile import judge, session

SEED = int(os.environ.get("VREID_HOSTILE_SEED", 0))
EACH = 3


def test_a_handful_of_inputs_of_every_reader(toy, tmp_path):
    court = judge.Court(tmp_path, SEED or 1)
    report = session.Report()
    for reader in session.all_readers(toy):
        for number in range(EACH if reader.share >= 1 else 1):
            report.add(reader.name, number, court.outcome(reader, number))
    assert not report.failures, report.table()


@pytest.mark.slow
def test_ten_thousand_inputs(tmp_path, capsys):
    seed = SEED or int(time.time() // 86400)
    with capsys.disabled():
        print(f"\nVREID_HOSTILE_SEED={seed}")
        report = session.in_processes(tmp_path, seed, int(os.environ.get("VREID_HOSTILE_COUNT", 10_000)))
        print(report.table())
    assert not report.failures, f"seed {seed}\n{report.table()}"


def test_the_judge_sees_what_is_not_allowed(tmp_path):
    def write(folder):
        (folder / "a.txt").write_text("good")

    def reads(read, **fields):
        reader = judge.Reader(fields.pop("name"), write, lambda rng, folder: ("nothing", None), read, **fields)
        return court.outcome(reader, 0)

    def fills(folder, given):
        (folder / "new.txt").write_text("x")

    def waits(folder, given):
        time.sleep(60)

    court = judge.Court(tmp_path, 0)
    judge_seconds, judge.WALL_SECONDS = judge.WALL_SECONDS, 1
    try:
        assert reads(lambda folder, given: 1, name="right").kind == "right"
        assert reads(lambda folder, given: 1 / 0, name="raises").kind == "failed"
        assert "changed or added" in reads(fills, name="writes").said
        assert "waits" in reads(waits, name="waits").said
        numbers = iter((1, 2))
        assert "wrong result" in reads(lambda folder, given: next(numbers), name="wrong", exact=True).said
        assert "MemoryError" in reads(lambda folder, given: bytes(judge.MEMORY + (1 << 30)), name="large").said
    finally:
        judge.WALL_SECONDS = judge_seconds
