import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vreid_jax.cli import command
from vreid_jax.data import flow_building
from vreid_jax.datasets import load_builder, loading, tracklet_builder
from vreid_jax.errors import InputError

ROOT = Path(__file__).parents[2]


def prepare(arguments):
    return command.main(["data", "prepare", *arguments])


def _snapshot(root):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def test_it_reports_builds_and_says_where(mars, tmp_path, capsys):
    before = _snapshot(mars)
    built = tmp_path / "built"
    assert prepare(["mars", f"--manual_dir={mars}", f"--data_dir={built}"]) == 0
    out = capsys.readouterr().out
    assert "DIFFERS: published is 8,298 (rows of track_train_info)" in out
    assert "published numbers differ" in out
    assert f"train 3, query 3, gallery 6 tracklets, split official, in {built / 'mars_video' / '1.0.0'}" in out
    assert "left as it was" not in out
    assert out.splitlines()[-1].startswith("not as published: train tracklets 3 in place of 8,298; ")
    assert len(load_builder("mars_video", built).as_data_source("gallery")) == 6
    assert prepare(["mars", f"--manual_dir={mars}", f"--data_dir={built}"]) == 0
    assert "1.0.0 (built before and left as it was; --rebuild builds it anew)\n" in (out := capsys.readouterr().out)
    assert "not as published" not in out  # the counts are just above
    assert prepare(["mars", f"--manual_dir={mars}", f"--data_dir={mars / 'built'}"]) == 2
    assert f"lies in --manual_dir={mars}, which is only read: give another --data_dir" in capsys.readouterr().err
    assert _snapshot(mars) == before


def test_check_only_opens_every_picture_and_builds_nothing(mars, tmp_path, capsys):
    flags = ["mars", f"--manual_dir={mars}", f"--data_dir={tmp_path / 'built'}", "--check-only"]
    assert prepare(flags) == 0
    assert "every picture is whole\nnot as published: train tracklets" in capsys.readouterr().out
    assert prepare([*flags, "--json"]) == 0
    printed = capsys.readouterr()
    outcome = json.loads(printed.out)
    assert outcome["built"] == []
    differing = [count["what"] for count in outcome["counts"] if count["differs"]]
    assert printed.err.count("DIFFERS") == len(differing) > 0
    path = mars / "bbox_test/0006/0006C5T0001F002.jpg"
    path.write_bytes(path.read_bytes()[:-9])
    assert prepare(flags) == 2
    assert "0006C5T0001F002.jpg is not a readable image (cut short)" in capsys.readouterr().err
    assert not (tmp_path / "built").exists()


def test_one_split_or_all_of_them(ilids, tmp_path, capsys):
    flags = ["ilids_vid", f"--manual_dir={ilids}", f"--data_dir={tmp_path / 'built'}"]
    (ilids / "other.tar.gz").write_bytes(b"a")
    assert prepare([*flags, "--split=3"]) == 0
    out = capsys.readouterr().out
    assert out.count(f"left out: {ilids}/other.tar.gz does not allow random access") == 1
    assert "ilids_vid/split_3: train 6, query 3, gallery 3 tracklets, split official" in out
    assert [path.name for path in (tmp_path / "built/ilids_vid").iterdir() if path.name[0] != "."] == ["split_3"]
    assert prepare(flags) == 0
    out = capsys.readouterr().out
    assert out.count("DIFFERS: published is 300 (150 persons in two cameras)") == 1
    assert out.count("left as it was") == 1
    for number in range(10):
        load_builder(f"ilids_vid/split_{number}", tmp_path / "built")


def test_what_differs_in_a_later_division_is_said_and_its_pictures_are_opened(prid, tmp_path, capsys):
    half = {"train": ["person_0001", "person_0002"], "test": ["person_0004"]}
    other = {"train": ["person_0001"], "test": ["person_0002", "person_0004", "person_0006"]}
    (prid / "splits_prid2011.json").write_text(json.dumps([half] * 9 + [other]))
    flags = ["prid2011", f"--manual_dir={prid}", "--check-only"]
    assert prepare(flags) == 0
    out = capsys.readouterr().out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("query identities")] == ["1", "3"]
    picture = prid / "prid_2011/multi_shot/cam_b/person_0006/0009.png"
    picture.write_bytes(picture.read_bytes()[:-9])
    assert prepare(flags) == 2
    assert "person_0006/0009.png is not a readable image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mars", "--manual_dir=/nowhere"], "/nowhere does not exist"),
        (["mars", "--manual_dir=.", "--split=1"], "the splits of mars are 0 alone"),
        (["prid2011", "--manual_dir=.", "--split=10"], "the splits of prid2011 are 0 to 9, or all"),
        (["duke_video", "--manual_dir=."], "no folders train, query, gallery"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(tmp_path, capsys, monkeypatch, arguments, message):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert prepare([*arguments, f"--data_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("mars_video", "python data_prep/prepare.py mars --manual_dir=FOLDER"),
        ("ilids_vid/split_0", "python data_prep/prepare.py ilids_vid --manual_dir=FOLDER"),
        ("prid2011_video/split_9", "python data_prep/prepare.py prid2011 --manual_dir=FOLDER"),
        ("duke_video", "python data_prep/prepare.py duke_video --manual_dir=FOLDER"),
    ],
)
def test_a_dataset_that_is_not_built_names_the_command(tmp_path, name, start):
    message = f"{name!r} is not prepared under {tmp_path}; run `{start} --data_dir={tmp_path}` first"
    with pytest.raises(InputError, match=re.escape(message)):
        load_builder(name, tmp_path)


def test_a_rebuild_takes_the_place_of_what_was_built_only_when_it_succeeds(ilids, tmp_path):
    name, built = "ilids_vid/split_0", tmp_path / "built"
    first = loading.prepare(name, ilids, built, progress=False)
    loading.prepare(name, tmp_path / "nowhere", built, progress=False)  # built already: nothing is read
    bad = next(ilids.rglob("cam1_person005_99.png"))
    whole = bad.read_bytes()
    bad.write_bytes(whole[:30])
    with pytest.raises(InputError, match=r"cam1_person005_99.png is not a readable image"):
        loading.prepare(name, ilids, built, progress=False, rebuild=True)
    assert load_builder(name, built).info.metadata == first.info.metadata
    Path(first.data_dir).rename(Path(first.data_dir).with_name("incomplete.before_1.0.0"))  # killed in a rebuild
    loading.prepare(name, tmp_path / "nowhere", built, progress=False)
    assert load_builder(name, built).info.metadata == first.info.metadata
    bad.write_bytes(whole)
    (ilids / "train-test people splits/train_test_splits_ilidsvid.mat").unlink()
    loading.prepare(name, ilids, built, progress=False, rebuild=True)
    assert load_builder(name, built).info.metadata["split_source"].startswith("seeded")
    assert not list(built.rglob("*incomplete*"))


def test_a_rebuild_keeps_the_optical_flow_also_when_it_is_killed_while_removing_what_it_replaced(ilids, tmp_path):
    name, built = "ilids_vid/split_0", tmp_path / "built"
    folder = Path(loading.prepare(name, ilids, built, progress=False).data_dir)
    flow = folder / flow_building.FOLDER / "train-dis-0123456789abcdef/00000.flow"
    flow.parent.mkdir(parents=True)
    flow.write_bytes(b"fields")
    loading.prepare(name, ilids, built, progress=False, rebuild=True)
    assert flow.read_bytes() == b"fields"
    aside = folder.with_name("incomplete.before_1.0.0")
    aside.mkdir()
    (folder / flow_building.FOLDER).rename(aside / flow_building.FOLDER)
    loading.prepare(name, tmp_path / "nowhere", built, progress=False)
    assert flow.read_bytes() == b"fields"
    assert not list(built.rglob("*incomplete*"))


def test_a_full_disk_is_said_and_nothing_is_left(mars, tmp_path, capsys, monkeypatch):
    class Writer:
        def __init__(self, *arguments):
            pass

        def write(self, record):
            pass

        def close(self):
            raise RuntimeError("write() failed: No space left on device; writing somewhere")

    monkeypatch.setattr(tracklet_builder.array_record_module, "ArrayRecordWriter", Writer)
    built = tmp_path / "built"
    assert prepare(["mars", f"--manual_dir={mars}", f"--data_dir={built}"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert (
        f"cannot write mars_video/1.0.0 to {built / 'mars_video'}: write() failed: No space left on device; make room"
        in last
    )
    assert not list(built.rglob("*incomplete*"))


# A build that is held up in its middle, by one picture.
HELD_UP = """
import runpy, sys, time
from vreid_jax.datasets.manual.files import ManualFiles

read = ManualFiles.read

def slowly(self, path):
    if path.endswith("0007C6T0012F005.jpg"):
        time.sleep(600)
    return read(self, path)

ManualFiles.read = slowly
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing_half_made(mars, tmp_path, end):
    built = tmp_path / "built"
    start = [sys.executable, "-c", HELD_UP, ROOT / "data_prep/prepare.py"]
    start += ["mars", f"--manual_dir={mars}", f"--data_dir={built}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job passes "ignore" on
    process = subprocess.Popen(start, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not list(built.rglob("*.unfinished")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(end)
    _, error = process.communicate(timeout=60)
    if end != signal.SIGKILL:
        assert process.returncode == 128 + end, error
        assert error.splitlines()[-1].endswith("nothing half-made is left behind")
        assert not list(built.rglob("*incomplete*"))
    with pytest.raises(InputError, match="is not prepared"):
        load_builder("mars_video", built)
    assert len(loading.prepare("mars_video", mars, built, progress=False).as_data_source("train")) == 3
    assert not list(built.rglob("*incomplete*"))
