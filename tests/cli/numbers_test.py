"""Numbers of flags: what Python takes for a number and people do not."""

import argparse

import pytest

from vreid_jax.cli import command, numbers


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("-1", -1), ("+3", 3), ("0", 0), (str(2**63), 2**63)])
def test_whole_numbers(text, value):
    assert numbers.whole(text) == value


@pytest.mark.parametrize("text", ["1_0_1", "²", "٣", "1.0", "", " 1", "x", "9" * 5000])
def test_what_is_not_a_whole_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number"):
        numbers.whole(text)


@pytest.mark.parametrize(("text", "value"), [("0.01", 0.01), ("1e-3", 1e-3), (".5", 0.5), ("1", 1.0), ("-2.", -2.0)])
def test_decimal_numbers(text, value):
    assert numbers.decimal(text) == value


@pytest.mark.parametrize("text", ["0_1", "nan", "inf", "", "٣", "1e", "1,5"])
def test_what_is_not_a_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number"):
        numbers.decimal(text)


def test_a_flag_that_is_not_a_number_is_named(capsys):
    assert command.main(["embed", "people", "--out=g.parquet", "--camera=1_0"]) == 2
    assert "argument --camera: '1_0' is not a whole number" in capsys.readouterr().err
