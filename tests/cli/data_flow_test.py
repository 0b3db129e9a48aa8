"""`vreid data flow`: what it prints, and what it refuses."""

import json
import shutil

import pytest

from vreid_jax.cli import command


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of walkers/tiny, beside which flow may be written."""
    shutil.copytree(data_dir / "walkers", tmp_path / "walkers", ignore=shutil.ignore_patterns("flow"))
    return tmp_path


def test_the_flow_of_every_split_is_counted(own_data, capsys):
    arguments = ["data", "flow", "walkers/tiny", f"--data-dir={own_data}", "--processes=1", "--quiet"]
    assert command.main([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert set(first["splits"]) == {"train", "query", "gallery"}
    query = first["splits"]["query"]
    assert query["tracklets"] == 18
    assert query["fields"] == query["frames"] - 18
    assert len(list((own_data / "walkers" / "tiny").rglob("*.flow"))) == 3
    assert command.main(arguments) == 0  # all is there
    printed = capsys.readouterr().out
    assert f"query: {query['fields']:,} fields of 18 tracklets" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method=lucas"], "--method=lucas is one of dis, farneback"),
        (["--processes=-1"], "--processes=-1 must not be negative"),
    ],
)
def test_what_cannot_be_is_one_sentence(data_dir, arguments, said, capsys):
    assert command.main(["data", "flow", "walkers/tiny", f"--data-dir={data_dir}", *arguments]) == 2
    assert said in capsys.readouterr().err
