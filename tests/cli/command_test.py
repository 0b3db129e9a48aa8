import re

import pytest

from vreid_jax.cli import command


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_every_subcommand_has_help_with_an_example(capsys, name):
    assert command.main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"example:\n  vreid {name} ", printed), printed


def test_the_overview_names_every_subcommand(capsys):
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in command.SUBCOMMANDS)
    assert command.main([]) == 2


def test_an_unknown_subcommand_is_one_sentence_and_exit_code_2(capsys):
    assert command.main(["sreach"]) == 2
    assert "there is no subcommand 'sreach'; they are train, evaluate" in capsys.readouterr().err


def test_a_dataset_is_built_by_its_name(capsys, data_dir):
    assert command.main(["data", "build", "walkers/tiny", f"--data-dir={data_dir}"]) == 0
    assert "query 18" in capsys.readouterr().out
    assert command.main(["data", "build", "walkers/tinny", f"--data-dir={data_dir}"]) == 2
    assert command.main(["data", "paint"]) == 2
    capsys.readouterr()
    assert command.main(["data", "show", "walkers/tinny", "--out=sheet.png"]) == 2
    assert capsys.readouterr().err.startswith("vreid data show: ")
