"""The command `adapt` before it trains: what a refusal leaves, and when a signal ends it at once."""

import os
import signal
import types

import cv2
import numpy as np
import pytest

from vreid_jax import adaptation
from vreid_jax.adaptation.rounds import Round
from vreid_jax.cli import command
from vreid_jax.errors import NonFiniteLoss


@pytest.fixture
def video(tmp_path):
    """Twelve grey frames with two tracks: too few to adapt to."""
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 6.0, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    lines = [f"{frame},{track},{20 * track},5,10,20,1" for track in (1, 2) for frame in range(1, 13)]
    (tmp_path / "tracks.txt").write_text("\n".join(lines))
    return [str(tmp_path / "v.avi"), f"--tracks={tmp_path / 'tracks.txt'}", "--synthetic=none", "--quiet"]


def test_a_refused_adaptation_leaves_no_pictures(video, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    for frames in ([], [f"--frames={tmp_path / 'a' / 'b' / 'frames'}"]):
        assert command.main(["adapt", *video, f"--out={tmp_path / 'm.safetensors'}", *frames]) == 2
        assert "has 2 tracks of at least 8 frames, and 12 are needed" in capsys.readouterr().err
        assert set(tmp_path.iterdir()) == before


def test_pictures_that_were_there_before_a_refusal_are_kept(video, tmp_path):
    out = tmp_path / "m.safetensors"
    frames = f"--frames={tmp_path / 'kept'}"
    adaptation.open_footage(video[:1], tracks=str(tmp_path / "tracks.txt"), frames=str(tmp_path / "kept"))
    assert command.main(["adapt", *video, f"--out={out}", frames]) == 2
    assert (tmp_path / "kept" / "track0001").is_dir()


def test_an_adaptation_that_writes_no_model_leaves_no_pictures(video, tmp_path, monkeypatch):
    before, seen = set(tmp_path.iterdir()), []

    def ends_with(outcome):
        def adapt(*_, **__):
            seen.append((tmp_path / "m.frames" / "track0001").is_dir())
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return adapt

    worse = types.SimpleNamespace(best=0, interrupted=False)
    for outcome, code in ((worse, 1), (KeyboardInterrupt(), 130), (NonFiniteLoss("nan"), 1)):
        monkeypatch.setattr(adaptation, "adapt", ends_with(outcome))
        assert command.main(["adapt", *video, f"--out={tmp_path / 'm.safetensors'}"]) == code
        assert set(tmp_path.iterdir()) == before
    assert seen == [True] * 3


def test_a_signal_ends_it_at_once_until_there_is_something_to_keep(video, tmp_path, capsys, monkeypatch):
    requests = []

    def before_the_first_round(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    def later(model, footage, settings, *, stop, tell, **_):
        tell(Round(0, 2, float("nan"), 0.5))
        os.kill(os.getpid(), signal.SIGINT)
        requests.append(stop.number)
        raise RuntimeError("stops here")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(adaptation, "adapt", before_the_first_round)
        assert command.main(["adapt", *video, f"--out={tmp_path / 'm.safetensors'}"]) == 130
        assert "interrupted; nothing was written" in capsys.readouterr().err
        monkeypatch.setattr(adaptation, "adapt", later)
        assert command.main(["adapt", *video, f"--out={tmp_path / 'm.safetensors'}"]) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert requests == [signal.SIGINT]
