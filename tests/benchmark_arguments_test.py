"""What a benchmark cannot do is said in one sentence with exit code 2, and figures are shown as what they were measured as."""

import importlib
import json
from pathlib import Path

import pytest

from vreid_jax.errors import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def start(monkeypatch, tmp_path):
    """A function that starts a benchmark in an empty folder with these arguments, and returns its module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)

    def start(name, *words):
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "setup_process", lambda **_: pytest.fail("it has begun"))
        monkeypatch.setattr("sys.argv", [f"{name}.py", *words])
        module.main()

    return start


WALKERS = ("m3d_table", "nonlocal3d_table", "person_vlad_table", "two_stream_table")
CLIPS = ("clip_similarity_table", "clip_similarity_ablations")


@pytest.mark.parametrize(
    ("name", "argument", "words"),
    [
        *((name, "--seeds=0,x", "--seeds: '0,x' is not a list of whole numbers") for name in (*WALKERS, *CLIPS)),
        ("m3d_table", "--seeds=", "--seeds: '' is not a list of whole numbers"),
        ("m3d_table", "--seeds=-1", "--seeds: '-1' is not a list of whole numbers"),
        *((name, "--tables=2,7x", "--tables: there is no table '7x'; they are ") for name in WALKERS[:3]),
        ("person_vlad_table", "--tables=7", "there is no table '7'; they are study, alpha, "),
        ("two_stream_table", "--rows=vgg,foo", "--rows: there is no row 'foo'; they are vgg, vlad, flow"),
        ("clip_similarity_table", "--corrupt=x", "--corrupt: 'x' is not a list of whole numbers"),
        ("clip_similarity_table", "--te=20,x", "--te: '20,x' is not a list of whole numbers"),
        ("clip_similarity_ablations", "--lengths=4;8", "--lengths: '4;8' is not a list of whole numbers"),
        ("m3d_speed", "--networks=m3", "--networks: there is no network 'm3'; they are 2d, "),
        ("m3d_speed", "--lengths=x", "--lengths: 'x' is not a list of whole numbers"),
        ("m3d_speed", "--frames=0", "--frames is 0 and --repeats 3; both must be at least 1"),
        ("m3d_speed", "--repeats=0", "--frames is 32 and --repeats 0; both must be at least 1"),
        ("person_vlad_speed", "--clips=0", "--clips is 0 and --repeats 5; both must be at least 1"),
        ("person_vlad_speed", "--repeats=-1", "--clips is 4 and --repeats -1; both must be at least 1"),
    ],
)
def test_what_a_flag_cannot_be_is_said_before_anything_begins(name, argument, words, start, capsys):
    with pytest.raises(SystemExit, match="2"):
        start(name, argument)
    assert words in capsys.readouterr().err


def test_a_seed_that_is_named_twice_counts_once(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert importlib.import_module("walkers_runs").whole_numbers("3,0,03") == [3, 0]


@pytest.fixture
def speed(monkeypatch):
    """The module of M3D's speed, whose every measurement finds the same; `speed.measured` counts them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("m3d_speed")
    monkeypatch.setattr(module, "measured", [], raising=False)

    def measure(*given):
        module.measured.append(given)
        return {"clips": 4, "GFLOP": 20.0, "MB": 1000.0, "parameters": 5.0, "rate": 2.5}

    monkeypatch.setattr(module, "measure", measure)
    return module


def test_speeds_that_are_there_are_not_measured_again(speed, tmp_path):
    file = tmp_path / "speeds" / "m3d-8.json"
    first = speed.kept_or_measured(file, "m3d", 8, 32, 3)
    assert first["rate"] == speed.kept_or_measured(file, "m3d", 8, 32, 3)["rate"] == 2.5
    assert speed.measured == [("m3d", 8, 32, 3)]
    assert "| M3D | 8 | 20.0 | 1000 |" in speed.line("m3d", 8, speed.kept_or_measured(file, "m3d", 8, 32, 3), 1.0)
    speed.kept_or_measured(None, "m3d", 8, 16, 1)
    assert len(speed.measured) == 2


@pytest.mark.parametrize(
    ("frames", "repeats", "other", "words"),
    [
        (16, 3, {}, "frames was 32, is 16"),
        (32, 1, {}, "repeats was 3, is 1"),
        (32, 3, {"jax": "0.4.1"}, "jax was '0.4.1', is '"),
        (32, 3, {"device": "another"}, "device was 'another', is 'cpu'"),
        (
            32,
            3,
            None,
            "device was 'nothing', is 'cpu'; frames was 'nothing', is 32; jax was ",
        ),  # of before they were kept
    ],
)
def test_speeds_that_were_measured_otherwise_are_refused(frames, repeats, other, words, speed, tmp_path):
    file = tmp_path / "m3d-8.json"
    speed.kept_or_measured(file, "m3d", 8, 32, 3)
    content = json.loads(file.read_text())
    conditions = content.pop("conditions")
    file.write_text(json.dumps(content if other is None else {**content, "conditions": {**conditions, **other}}))
    with pytest.raises(InputError, match=f"m3d-8.json was measured under other conditions: {words}"):
        speed.kept_or_measured(file, "m3d", 8, frames, repeats)
