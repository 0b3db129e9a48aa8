import pytest

from vreid_jax.cli import command, responses
from vreid_jax.config.files import from_file


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out=x.gif"], "--out=x.gif must end in .png or .jpg"),
        (["--out={tmp}/nowhere/x.png"], "lie in a folder that exists"),
        (["--out={tmp}/x.png", "--tracklets=0"], "--tracklets=0 must be at least 1"),
        (["--out={tmp}/x.png"], "is not the workdir of a run: it has no config.json"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, capsys, flags, words):
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    assert command.main(["responses", f"--workdir={tmp_path}", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text(from_file("person_vlad").to_json())
    assert command.main(["responses", f"--workdir={tmp_path}", f"--out={tmp_path}/x.png"]) == 2
    assert "holds no checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
    "layers",
    [
        ["stem", "res2", "res3", "res4", "res5"],
        ["conv1", "conv2", "conv3a", "conv3b"],
        ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "Mixed_3b", "Mixed_3c", "Mixed_4b"],
        [],
    ],
)
def test_the_layers_of_every_backbone_are_drawn_from_the_first_one_to_the_last(layers):
    others = ["feature", "logits", "pooled", "part_maps"]
    assert responses.layers(sorted([*layers, *others])) == layers
