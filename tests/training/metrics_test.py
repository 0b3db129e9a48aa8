import json

from vreid_jax.training.metrics import MetricsWriter, read_metrics
from vreid_jax.training.position import Position


def write(workdir, steps, first_step=0):
    writer = MetricsWriter(workdir, Position("spatial", first_step, 0, 0.0) if first_step else None, tensorboard=False)
    for step in steps:
        writer.write(step, {"phase": "spatial", "loss": 1 / step})
    writer.close()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_one_object(tmp_path):
    write(tmp_path, [1, 2])
    assert lines(tmp_path) == [
        {"step": 1, "phase": "spatial", "loss": 1.0},
        {"step": 2, "phase": "spatial", "loss": 0.5},
    ]


def test_a_number_that_is_not_finite_is_null_and_left_out_by_the_reader(tmp_path):
    writer = MetricsWriter(tmp_path, None, tensorboard=False)
    writer.write(1, {"loss": float("nan"), "gradient_norm": float("inf"), "accuracy": 0.5})
    writer.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse) == {"step": 1, "loss": None, "gradient_norm": None, "accuracy": 0.5}
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "accuracy": 0.5}]


def test_a_resumed_run_drops_what_it_will_write_again(tmp_path):
    write(tmp_path, [1, 2, 3, 4, 5])
    write(tmp_path, [4], first_step=3)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_a_phase_that_begins_again_reports_again(tmp_path):
    """What `prepare` reports stands at the last step of the phase before, and at 0 in the first phase."""
    report = {"phase": "temporal", "cells_used": 0.5}
    for position, steps in ((None, [1, 2]), (Position("spatial", 2, 0, 0.0), [])):
        writer = MetricsWriter(tmp_path, position, tensorboard=False)
        for step in steps:
            writer.write(step, {"phase": "spatial"})
        writer.write(2, report)
        writer.close()
    assert lines(tmp_path) == [{"step": 1, "phase": "spatial"}, {"step": 2, "phase": "spatial"}, {"step": 2, **report}]
    for _ in range(2):
        writer = MetricsWriter(tmp_path, None, tensorboard=False)
        writer.write(0, report)
        writer.close()
    assert lines(tmp_path) == [{"step": 0, **report}]


def test_the_half_line_of_a_killed_run_is_dropped(tmp_path):
    write(tmp_path, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    write(tmp_path, [3], first_step=3)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


def test_what_is_damaged_in_the_middle_is_left_out(tmp_path):
    good = [{"step": 1, "phase": "spatial", "loss": 0.5}, {"step": 3, "loss": 0.25}]
    odd = b'{"step": 2, "loss": Infinity, "extra": [1], "on": true, "rate": null, "clips": 7}'
    damaged = [
        b"null",
        b"[1]",
        b"5",
        b'{"loss": 1}',
        b'{"step": "2"}',
        b'{"step": 1.5}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([json.dumps(good[0]).encode(), *damaged, odd, json.dumps(good[1]).encode(), b'{"st']))
    assert read_metrics(path) == [good[0], {"step": 2, "clips": 7}, good[1]]
    write(tmp_path, [3], first_step=2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path / "nothing") == []


def test_tensorboard_gets_the_numbers(tmp_path):
    writer = MetricsWriter(tmp_path, None, tensorboard=True)
    writer.write(1, {"phase": "spatial", "loss": 2.0})
    writer.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
