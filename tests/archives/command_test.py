"""`vreid archive embed`: its outcome, its exit code, and what it says without Ray."""

import json
import sys

import pytest

from vreid_jax.archives import engine
from vreid_jax.archives.engine import Machines
from vreid_jax.archives.work import Worker
from vreid_jax.cli import chosen_model
from vreid_jax.errors import InputError


@pytest.fixture
def here(monkeypatch, model):
    """Parts are made in this process, by the toy."""

    def make(parts, model, store, settings, machines):
        worker = Worker(model, store, settings)
        yield from map(worker.make, parts)

    monkeypatch.setattr(engine, "installed", lambda: None)
    monkeypatch.setattr(engine, "make_on_ray", make)
    monkeypatch.setattr(chosen_model, "load_chosen", lambda name: model)


def test_the_exit_code_says_whether_all_videos_are_there(vreid, here, street, model, tmp_path):
    manifest, out = street / "cameras.csv", tmp_path / "archive"
    code, printed, _ = vreid("archive", "embed", manifest, f"--out={out}", "--quiet")
    assert code == 0
    assert printed == f"{out}: 2 videos; 2 parts of 3 tracklets, by toy {model.fingerprint}\n"
    manifest.write_text(manifest.read_text() + "missing.avi,3,0,\n")
    code, printed, said = vreid("archive", "embed", manifest, f"--out={out}", "--json")
    outcome = json.loads(printed)
    assert code == 1
    assert (outcome["videos"], outcome["parts"], outcome["before"], len(outcome["failed"])) == (3, 0, 2, 1)
    assert "parts" in said  # the bar
    code, printed, _ = vreid("archive", "embed", manifest, f"--out={out}", "--quiet")
    assert code == 1
    assert printed.splitlines()[1].startswith(f"set aside: {street / 'missing.avi'}: cannot read ")


def test_without_ray_it_says_how_to_install_it(vreid, monkeypatch, street, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = vreid("archive", "embed", street / "cameras.csv", f"--out={tmp_path / 'archive'}")
    assert code == 2
    assert "python3 -m pip install 'vreid_jax[archive]'" in said
    assert not (tmp_path / "archive").exists()


def test_machines_that_cannot_be():
    with pytest.raises(InputError, match="--device=cuda must be one of cpu, gpu, tpu"):
        Machines(device="cuda")
    with pytest.raises(InputError, match="--workers=-1 must not be negative"):
        Machines(workers=-1)
