import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from vreid_jax.cli import command

ROOT = Path(__file__).parents[2]


def test_show_writes_a_sheet(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert command.main(["data", "show", "walkers/tiny", f"--out={out}", f"--data-dir={tmp_path}"]) == 0
    assert cv2.imread(str(out)).shape[1] == 16 * 66
    assert "tracklets of walkers/tiny" in capsys.readouterr().out
    out = tmp_path / "query.png"
    assert (
        command.main(
            ["data", "show", "walkers/tiny", f"--out={out}", f"--data-dir={tmp_path}", "--split=query", "--tracklets=3"]
        )
        == 0
    )
    assert cv2.imread(str(out)).shape[0] == 3 * (128 + 18)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("split", [[], ["--split=gallery", "--tracklets=7"]])
def test_show_writes_an_animation(data_dir, tmp_path, suffix, split):
    out = tmp_path / f"moving{suffix}"
    assert (
        command.main(["data", "show", "walkers/tiny", f"--out={out}", f"--data-dir={data_dir}", "--fps=20", *split])
        == 0
    )
    readable, moving = cv2.imreadanimation(str(out))
    assert readable
    assert len(moving.frames) >= 10
    assert set(moving.durations.tolist()) == {50}
    assert moving.frames[0].shape[:2] == ((2 if split else 4) * 174, 6 * 150)
    assert (moving.frames[0] != moving.frames[1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walkers/tiny", "--out=sheet.gif", "--fps=0"], "--fps=0.0 must be positive"),
        (["walkers/tiny", "--out=sheet.txt"], "must end in .png or .jpg"),
        (["walkers/tiny", "--out=/nowhere/sheet.png"], "does not exist"),
        (["walkers/tine", "--out=sheet.png"], "did you mean walkers/tiny"),
        (["walkers/tiny", "--out=sheet.png", "--tracklets=0"], "at least 1"),
    ],
)
def test_show_says_what_is_wrong_and_exits_with_2(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert command.main(["data", "show", *arguments, f"--data-dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "add --halves-as-cameras"),
        (["--halves-as-cameras"], "tracks.txt cannot be read"),
        (["--halves-as-cameras", "--resize=big"], "must be HEIGHTxWIDTH"),
        (["--halves-as-cameras", "--seed=-1"], "must not be negative"),
        (["--halves-as-cameras", "--min-length=1"], "must be at least 2"),
    ],
)
def test_video_to_tracklets_says_what_is_wrong_and_exits_with_2(tmp_path, capsys, flags, message):
    names = [str(tmp_path / name) for name in ("video.avi", "tracks.txt", "out")]
    assert command.main(["data", "video", *names, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("script", ["prepare.py", "show.py", "video_to_tracklets.py"])
def test_the_scripts_start(script):
    done = subprocess.run([sys.executable, ROOT / "data_prep" / script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"usage: {script}" in done.stdout
