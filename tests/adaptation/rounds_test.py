"""A toy adapted to a video from end to end: rounds, early stopping, signals, determinism, and the command."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

import vreid_jax
from vreid_jax import data
from vreid_jax.adaptation import AdaptationSettings, adapt, open_footage, rounds
from vreid_jax.cli import command
from vreid_jax.errors import InputError, NonFiniteLoss
from vreid_jax.training.signals import StopRequest

FEW = AdaptationSettings(rounds=2, steps=2, tracks_per_batch=4, least_tracks=6)


@pytest.fixture(scope="module")
def model(toy_module, finished):
    return vreid_jax.load(finished[0])


@pytest.fixture(scope="module")
def video(walkers_video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    walkers_video(folder / "video.avi", folder / "tracks.txt")
    return folder


@pytest.fixture(scope="module")
def footage(video):
    return open_footage([str(video / "video.avi")], tracks=str(video / "tracks.txt"), frames=str(video / "cut"))


@pytest.fixture(scope="module")
def drawn(tiny_builder):
    return data.TrackletSource(tiny_builder, "train")


@pytest.fixture(scope="module")
def adapted(model, footage, drawn):
    return adapt(model, footage, FEW, synthetic=drawn)


def test_an_adaptation_scores_the_model_and_every_round(adapted, footage):
    assert [each.number for each in adapted.rounds] == list(range(len(adapted.rounds)))
    assert len(adapted.rounds) >= 2
    assert [math.isnan(each.loss) for each in adapted.rounds] == [True] + [False] * (len(adapted.rounds) - 1)
    assert all(0 < each.score <= 1 for each in adapted.rounds)
    assert all(1 <= each.people <= adapted.tracks - adapted.held_back for each in adapted.rounds)
    assert (adapted.tracks, adapted.held_back, adapted.certain) == (8, 4, 12)
    assert not adapted.interrupted


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model_and_another_seed_another(model, footage, drawn, adapted):
    again = adapt(model, footage, FEW, synthetic=drawn)
    assert [each.loss for each in again.rounds[1:]] == [each.loss for each in adapted.rounds[1:]]
    assert again.model.fingerprint == adapted.model.fingerprint
    other = adapt(model, footage, dataclasses.replace(FEW, seed=2**32 - 1), synthetic=drawn)  # the greatest
    assert [each.loss for each in other.rounds[1:]] != [each.loss for each in adapted.rounds[1:]]


def scripted(monkeypatch, scores):
    """Let all halves have these scores, one a round."""
    given = iter(scores)
    monkeypatch.setattr(rounds, "held_back_ranks", lambda *args, **known: np.full(8, next(given)))


@pytest.mark.slow
def test_it_ends_with_a_round_that_is_clearly_worse_and_keeps_the_one_before(monkeypatch, model, footage):
    scripted(monkeypatch, [0.5, 0.5, 0.6, 0.4, 0.9])
    settings = dataclasses.replace(FEW, rounds=4, steps=1)
    kept = []
    done = adapt(model, footage, settings, tell=lambda each: kept.append(each.number))
    assert kept == [0, 1, 2, 3]  # the fourth, which would have been better, is not reached
    assert done.best == 2


@pytest.mark.slow
def test_a_model_that_only_gets_worse_stays_as_it_is(monkeypatch, model, footage):
    scripted(monkeypatch, [0.5, 0.4])
    done = adapt(model, footage, dataclasses.replace(FEW, steps=1))
    assert done.best == 0
    assert done.model.fingerprint == model.fingerprint


@pytest.mark.slow
def test_a_signal_ends_it_with_the_best_so_far(monkeypatch, model, footage):
    scripted(monkeypatch, [0.5, 0.6, 0.7])
    stop = StopRequest()

    def tell(each):
        if each.number == 1:
            stop.number = 2

    done = adapt(model, footage, FEW, stop=stop, tell=tell)
    assert done.interrupted
    assert done.best == 1
    assert len(done.rounds) == 2
    assert done.model.fingerprint != model.fingerprint


def test_vectors_that_are_not_finite_are_said(model, footage):
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), model.variables["params"])
    with pytest.raises(NonFiniteLoss, match="not finite"):
        adapt(dataclasses.replace(model, variables={**model.variables, "params": broken}), footage, FEW)


def test_too_short_a_video_is_refused(model, footage):
    with pytest.raises(InputError, match="has 8 tracks of at least 8 frames, and 12 are needed to adapt a model"):
        adapt(model, footage)


def vreid(capsys, *arguments):
    code = command.main(list(map(str, arguments)))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def of_few_tracks(monkeypatch):
    """The command takes a video of eight tracks."""
    monkeypatch.setattr("vreid_jax.adaptation.AdaptationSettings", lambda **chosen: dataclasses.replace(FEW, **chosen))


def test_the_command_writes_a_model_and_its_card(monkeypatch, capsys, of_few_tracks, finished, video, tmp_path):
    scripted(monkeypatch, [0.25, 0.5, 0.75])
    out = tmp_path / "adapted.safetensors"
    flags = [f"--model={finished[0]}", f"--out={out}", "--synthetic=none", "--steps=1", "--licence=MIT"]
    code, printed, said = vreid(
        capsys, "adapt", video / "video.avi", f"--tracks={video / 'tracks.txt'}", *flags, "--json"
    )
    assert code == 0, said
    outcome = json.loads(printed)
    assert outcome["best_round"] == 2
    assert (outcome["score_before"], outcome["score"]) == (0.25, 0.75)
    assert "round 1: " in said
    assert "the model as it is: " in said
    model = vreid_jax.load(out)
    assert model.fingerprint == outcome["fingerprint"] != vreid_jax.load(finished[0]).fingerprint
    assert model.about["adapted"]["from_fingerprint"] == vreid_jax.load(finished[0]).fingerprint
    assert model.about["adapted"]["footage"] == [str(video / "video.avi")]
    assert not {"scores", "step", "open_set"} & set(model.about)  # they were of the other model
    card = out.with_suffix(".md").read_text()
    assert "adapted to video.avi" in card
    assert "Adapted without labels to 8 tracks of video.avi, from `toy`" in card
    code, _, said = vreid(capsys, "adapt", video / "video.avi", *flags)
    assert code == 2
    assert "is there already" in said


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--synthetic=walkers/tinny"], 2, "did you mean walkers/tiny"),
        (["--rounds=0"], 2, "rounds is 0; it must be at least 1"),
        (["--seed=-1"], 2, "seed is -1"),
        (["--out=adapted.bin"], 2, "must end in .safetensors"),
    ],
)
def test_wrong_flags_are_one_sentence(capsys, finished, video, tmp_path, flags, code, said):
    given = [f"--model={finished[0]}", f"--out={tmp_path / 'out.safetensors'}", "--quiet", *flags]
    exit_code, _, printed = vreid(capsys, "adapt", video / "video.avi", f"--tracks={video / 'tracks.txt'}", *given)
    assert exit_code == code
    assert said in printed
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".safetensors", ".md")]


@pytest.mark.slow
def test_a_model_that_only_gets_worse_is_not_written(monkeypatch, capsys, of_few_tracks, finished, video, tmp_path):
    scripted(monkeypatch, [0.5, 0.4])
    out = tmp_path / "out.safetensors"
    flags = [f"--model={finished[0]}", f"--out={out}", "--synthetic=none", "--rounds=1", "--steps=1", "--quiet"]
    code, printed, said = vreid(capsys, "adapt", video / "video.avi", f"--tracks={video / 'tracks.txt'}", *flags)
    assert code == 1
    assert "nothing was written" in said
    assert printed == ""
    assert not out.exists()
