import functools
import operator
import subprocess
import sys

import pytest

from vreid_jax.datasets.processes import in_order
from vreid_jax.datasets.walkers.wild_plan import WildSize, make_wild_plan
from vreid_jax.datasets.walkers.wild_scene import encoded_wild_tracklet


def test_several_processes_draw_the_bytes_of_one_in_the_same_order():
    plan = make_wild_plan(WildSize(train_identities=3, test_identities=1, frames=2, scenes=3, strangers=2))
    draw = functools.partial(encoded_wild_tracklet, plan)
    assert list(in_order(draw, plan.train, processes=2)) == list(map(draw, plan.train))


def test_results_may_be_larger_than_a_pipe_and_need_not_all_be_read():
    results = in_order(functools.partial(operator.mul, b"x" * 200_000), range(1, 9), processes=2)
    assert [len(next(results)) for _ in range(3)] == [200_000, 400_000, 600_000]
    results.close()  # returns although both processes have more to write


def test_a_little_work_is_done_by_the_caller(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert list(in_order(operator.neg, range(5))) == [0, -1, -2, -3, -4]
    assert list(in_order(operator.neg, (), processes=1)) == []


def test_an_error_in_a_process_ends_the_work(capfd):
    with pytest.raises(RuntimeError, match="ended with status 1"):
        list(in_order(operator.neg, [1, "two", 3], processes=2))
    assert "TypeError: bad operand type" in capfd.readouterr().err


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import operator\n"
        "from vreid_jax.datasets.processes import in_order\n"
        "print(list(in_order(operator.neg, [1, 2, 3], processes=2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "[-1, -2, -3]\n"
