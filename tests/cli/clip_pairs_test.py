import types

import pytest

from vreid_jax import inference
from vreid_jax.cli import command
from vreid_jax.config import from_file


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            "evaluation.similarity.kind=top_t",
            "compares tracklets by similarity.kind=top_t: only the learned similarity",
        ),
        (
            "evaluation.streams.clips.average=True",
            "compares tracklets by the means of their clips (evaluation.streams.",
        ),
    ],
)
def test_a_run_that_does_not_weigh_pairs_of_clips_is_one_sentence(tmp_path, monkeypatch, capsys, field, words):
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "clips.npz").touch()
    config = from_file(f"clip_similarity:walkers,{field}")
    monkeypatch.setattr(inference, "load", lambda workdir: types.SimpleNamespace(config=config))
    assert command.main(["clip-pairs", f"--workdir={tmp_path}", f"--out={tmp_path / 'x.png'}"]) == 2
    assert words in capsys.readouterr().err
