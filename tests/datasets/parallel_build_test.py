"""Datasets are built by one process, by several, or by Beam, with the same bytes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vreid_jax.datasets import load_builder, loading, processes
from vreid_jax.datasets.loading import Work
from vreid_jax.errors import InputError


def digests(folder):
    """Return the digest of every file of a dataset by its name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.slow
def test_two_processes_prepare_the_bytes_of_one(mars, tmp_path):
    for number in (1, 2):
        loading.prepare("mars_video", mars, tmp_path / str(number), progress=False, work=Work(processes=number))
    one, two = (digests(tmp_path / str(number)) for number in (1, 2))
    assert one == two
    assert len([name for name in one if "array_record" in name]) == 3
    assert len([name for name in one if name.endswith("dataset_info.json")]) == 1


def test_another_process_writes_the_same_bytes(tiny_builder, tmp_path):
    text = f"from vreid_jax.datasets import load_builder; load_builder('walkers/tiny', data_dir={str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", text], env=environment, check=True, capture_output=True)
    ours, theirs = (
        {name: digest for name, digest in digests(folder).items() if "array_record" in name}
        for folder in (tiny_builder.data_dir, next(tmp_path.glob("walkers/tiny/*")))
    )
    assert len(ours) == 3
    assert ours == theirs


@pytest.mark.slow
def test_a_broken_picture_is_the_same_sentence_from_a_process(mars, tmp_path):
    picture = next(path for path in sorted(mars.rglob("*.jpg")) if path.stat().st_size > 100)
    picture.write_bytes(picture.read_bytes()[:-40])
    said = []
    for number in (1, 2):
        with pytest.raises(InputError) as wrong:
            loading.prepare("mars_video", mars, tmp_path / str(number), progress=False, work=Work(processes=number))
        said.append(str(wrong.value))
        assert not digests(tmp_path / str(number))
    assert said[0] == said[1]
    assert str(picture) in said[0]


def test_the_first_error_in_the_order_of_the_items_is_raised():
    results = processes.in_order(refuse_from_three, range(6), processes=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"^3 is too much$"):
        next(results)


def refuse_from_three(number):
    if number >= 3:
        raise InputError(f"{number} is too much")
    return number


def test_work_that_cannot_be_done(monkeypatch):
    with pytest.raises(InputError, match="--processes=0 must be at least 1"):
        Work(processes=0)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match="Beam is not installed: python3 -m pip install apache-beam"):
        Work(beam="runner=DirectRunner").download_config()


@pytest.mark.slow
def test_processes_draw_the_walkers_that_one_draws(tmp_path):
    for number in (1, 2):
        load_builder("walkers/tiny", tmp_path / str(number), progress=False, work=Work(processes=number))
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Beam's own
@pytest.mark.parametrize(
    "options", ["runner=FnApiRunner", "runner=FnApiRunner,direct_num_workers=2,direct_running_mode=multi_processing"]
)
def test_beam_prepares_the_bytes_of_one_process(mars, tmp_path, options):
    pytest.importorskip("apache_beam", reason="needs Beam: python3 -m pip install apache-beam")
    loading.prepare("mars_video", mars, tmp_path / "one", progress=False, work=Work(processes=1))
    loading.prepare("mars_video", mars, tmp_path / "beam", progress=False, work=Work(beam=options))
    assert digests(tmp_path / "one") == digests(tmp_path / "beam")
    load_builder("walkers/tiny", tmp_path / "one", progress=False, work=Work(processes=1))
    load_builder("walkers/tiny", tmp_path / "beam", progress=False, work=Work(beam=options))
    assert digests(tmp_path / "one") == digests(tmp_path / "beam")
