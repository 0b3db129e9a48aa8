"""Jobs that are killed at any moment and started again leave what the uninterrupted job leaves, bit for bit.

`VREID_CRASH_KILLS` says how many kills (default 100), `VREID_CRASH_SEED` which (default: other ones every time).
"""

import collections
import os
import random
import shutil

import pytest

from tests.crash import jobs, killing

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("VREID_CRASH_KILLS", "100"))
SEED = int(os.environ.get("VREID_CRASH_SEED", random.SystemRandom().randrange(10**6)))
SHARES = {"train": 0.3, "embed": 0.3, "convert": 0.2, "report": 0.2}
IN_A_TRIAL = (2, 6)
COLD = 1 / 3  # how many trials begin with no compiled program in the cache


@pytest.mark.parametrize("name", SHARES)
def test_a_job_killed_at_any_moment_leaves_what_the_uninterrupted_one_leaves(name, bench, tmp_path, capsys):
    wanted = max(1, round(KILLS * SHARES[name]))
    rng = random.Random(f"{SEED} {name}")
    whole = bench.whole(name)
    kills, starts, failures = [], 0, []
    moments: list[killing.Moment] = []
    trial = 0
    while len(kills) < wanted:
        planned = []
        for _ in range(min(rng.randint(*IN_A_TRIAL), wanted - len(kills))):
            moments = moments or killing.draw_moments(rng, wanted, whole.ended, jobs.JOBS[name].appearances)
            planned.append(moments.pop())
        folder = tmp_path / str(trial)
        cache = tmp_path / f"{trial}.cache" if rng.random() < COLD else bench.cache
        done, started, wrong = killed_and_restarted(name, bench, folder, cache, planned)
        kills += done
        starts += started
        with capsys.disabled():
            print(f"\n{name}, trial {trial}: killed at {', '.join(done) or 'nothing'}{wrong and f'; {wrong}'}", end="")
        if wrong:
            failures.append(f"trial {trial}: {wrong}; killed: {done}; planned: {planned}; it is in {folder}")
        else:
            shutil.rmtree(folder)
        trial += 1
    counts = ", ".join(f"{count} {what}" for what, count in sorted(collections.Counter(kills).items()))
    with capsys.disabled():
        print(f"\n{name}: {len(kills)} kills in {trial} trials, {starts} starts, {len(failures)} failures, seed {SEED}")
        print(counts)
    assert not failures, f"VREID_CRASH_SEED={SEED} VREID_CRASH_KILLS={KILLS}:\n" + "\n".join(failures)


def killed_and_restarted(name, bench, folder, cache, planned):
    """Start a job, kill it at each of the planned moments, let it end; the kills, the starts, and what is wrong."""
    folder.mkdir()
    kills: list[str] = []
    for moment in [*planned, None]:
        before = killing.times_of_modification(folder)
        ended = killing.run(bench.arguments(name, folder), folder, cache, moment)
        if not ended.killed:
            break
        after = killing.times_of_modification(folder)
        kills.append(f"{killing.stage(before, after, jobs.JOBS[name].stages)} ({moment.kind})")
    return kills, len(kills) + 1, wrong_with(name, bench, folder, ended, bool(kills))


def wrong_with(name, bench, folder, ended, killed):
    """Return what is wrong with a job that has ended by itself, empty if nothing."""
    job, whole = jobs.JOBS[name], bench.uninterrupted[name]
    was_done = killed and job.done and ended.code == 2 and job.done in ended.said
    if ended.code != 0 and not was_done:
        return f"exit code {ended.code}: {ended.said[-1500:]}"
    wrong = [f"a traceback: {ended.said[-1500:]}"] if "Traceback" in ended.said else []
    names = jobs.names(folder)
    if left := sorted({*names} - {*whole.names}):
        wrong.append(f"left over: {left}")
    if missing := sorted({*whole.names} - {*names}):
        wrong.append(f"missing: {missing}")
    elif different := jobs.differences(whole.outcome, job.outcome(folder)):
        wrong.append(f"different: {different}")
    return "; ".join(wrong)
