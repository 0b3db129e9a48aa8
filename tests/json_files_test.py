"""JSON of a known shape: whatever else a file holds is one sentence that names the part."""

import json
import math

import pytest

from vreid_jax.errors import InputError
from vreid_jax.json_files import parse_json, read_json

SHAPE = {
    "name": str,
    "count": int,
    "rate?": (float, None),
    "split": (int, str),
    "rows": [{"x": float}],
    "by_name?": {str: {"on": bool}},
    "free?": object,
}
GOOD = {
    "name": "a",
    "count": 2,
    "split": "all",
    "rows": [{"x": 1}, {"x": 0.5}],
    "by_name": {"b": {"on": True}},
    "z": [],
}


@pytest.mark.parametrize("changes", [{}, {"rate": None}, {"rate": 1}, {"split": 0}, {"rows": []}, {"free": [None]}])
def test_what_has_the_shape_comes_back_as_it_is(changes):
    value = GOOD | changes
    assert parse_json(json.dumps(value), SHAPE) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "it is null instead of an object"),
        ([GOOD], "it is .* instead of an object"),
        (5, "it is 5 instead of an object"),
        ({}, "it lacks name"),
        (GOOD | {"name": 3}, "name is 3 instead of text"),
        (GOOD | {"count": True}, "count is true instead of a whole number"),
        (GOOD | {"count": 2.0}, "count is 2.0 instead of a whole number"),
        (GOOD | {"rate": math.inf}, "rate is Infinity instead of a finite number"),
        (GOOD | {"rate": "1"}, 'rate is "1" instead of a finite number'),
        (GOOD | {"split": None}, "split is null instead of a whole number"),
        (GOOD | {"rows": {}}, "rows is {} instead of a list"),
        (GOOD | {"rows": [{"x": 1}, {"x": None}]}, r"rows\[1\].x is null instead of a finite number"),
        (GOOD | {"rows": [{}]}, r"rows\[0\] lacks x"),
        (GOOD | {"by_name": {"c": {"on": 1}}}, "by_name.c.on is 1 instead of true or false"),
        (GOOD | {"name": {"long": "x" * 99}}, r'name is {"long": "x{27}\.\.\. instead of text'),
    ],
)
def test_the_first_part_of_another_shape_is_named(value, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        parse_json(json.dumps(value), SHAPE)
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=rf"a\.json is damaged: {words}"):
        read_json(tmp_path / "a.json", SHAPE)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[" * 200_000, b"1" * 5_000, b'{"a": 1} x'])
def test_what_is_not_json_is_one_sentence(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is damaged: it is not valid JSON"):
        read_json(tmp_path / "a.json", object)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="a cannot be read: No such file"):
        read_json(tmp_path / "a", object)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_json(tmp_path, object)
