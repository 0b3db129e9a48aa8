"""The types of settings are their checks, for values of every kind, at any depth."""

import dataclasses
import math
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.config import from_file
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError
from vreid_jax.settings import (
    AT_LEAST_ONE,
    POSITIVE,
    FilePath,
    Number,
    Pattern,
    Settings,
    check,
    check_arguments,
    shown,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, int), (np.int64(3), int), (-(2**31) + 1, int), (0.5, float), (3, float), (np.float32(0.5), float), (True, bool),
        ("é", str), (None, str | None), ("a", int | str), ((), tuple[int, ...]), ((1, 2), tuple[int, ...]),
        (("a", 0.5), tuple[str, float]), ({"a": (1,)}, Mapping[str, tuple[int, ...]]), (object(), Any), (1, Annotated[int, AT_LEAST_ONE]),
        (".*/(bias|scale)", Pattern), ("", FilePath), ("/not/there/yet", FilePath), ("hf://owner/name", FilePath),
    ],
)  # fmt: skip
def test_what_is_of_its_type_passes(value, kind):
    check(value, kind, "field")


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (True, int, "field is True; it must be a whole number"),
        (1.0, int, "field is 1.0; it must be a whole number"),
        ("3", int, "field is '3'; it must be a whole number"),
        (10**24, int, "field is 1000000000000000000000000; it must be below 2**31"),
        (True, Number, "field is True; it must be a number"),
        (math.nan, Number, "field is nan; it must be a finite number"),
        (-math.inf, float, "field is -inf; it must be a finite number"),
        (1e300, float, "field is 1e+300; it must be a finite number, as a float32 holds it"),
        (10**400, Number, "it must be a finite number"),
        (10**30, Number, "a whole number must be below 2"),
        (1, bool, "field is 1; it must be True or False"),
        (5, str, "field is 5; it must be text"),
        ("a\0", str, r"field is 'a\x00'; it must be text that UTF-8 can write, without NUL"),
        (os.fsdecode(b"\xff"), str, "it must be text that UTF-8 can write"),
        ("a" * 100_000, str, "aaa…; it must be text"),
        (5, str | None, "field is 5; it must be text or None"),
        ("abc", tuple[str, ...], "field is 'abc'; it must be a tuple, each part of it text"),
        ((5,), tuple[str, ...], "field[0] is 5; it must be text"),
        ((1, (2,)), tuple[int, ...], "field[1] is (2,); it must be a whole number"),
        ((1, 2), tuple[int, int, int], "field is (1, 2); it must be a tuple of 3: a whole number, a whole number, a whole"),
        ((("a", -1.0),), tuple[tuple[str, Annotated[Number, POSITIVE]], ...], "field[0][1] is -1.0; it must be above 0"),
        ([1], Mapping[str, int], "field is [1]; it must be a group of fields"),
        ({"a": {"b": ("x",)}}, Mapping[str, Mapping[str, tuple[int, ...]]], "field.a.b[0] is 'x'; it must be a whole number"),
        ({1: 2}, Mapping[str, int], "a name in field is 1; it must be text"),
        ("(", Pattern, "field is '('; it must be a regular expression"),
        ("a{99999999999}", Pattern, "it must be a regular expression"),
        ("~nouser/x", FilePath, "field is '~nouser/x'; it must be a path where something can be"),
        ("a" * 300, FilePath, "it must be a path where something can be"),
    ],
)  # fmt: skip
def test_what_is_not_of_its_type_is_named_by_its_place(value, kind, words):
    with pytest.raises(InputError) as error:
        check(value, kind, "field")
    assert words in str(error.value)
    assert len(str(error.value)) < 400


def test_a_refusal_is_one_line_that_ends_in_what_to_do():
    said = str(InputError(f"{'a' * 9000}\nb; remove it"))
    assert said.endswith("a b; remove it")
    assert len(said) < 2000


def test_a_value_is_shown_on_one_line():
    assert shown(np.zeros((2, 2))) == "array([[0., 0.],        [0., 0.]])"
    assert shown(10**5000) == "a number of thousands of digits"


@dataclasses.dataclass(frozen=True)
class _Inner(Settings):
    size: Annotated[int, AT_LEAST_ONE]
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Outer(Settings):
    inner: _Inner
    many: Mapping[str, _Inner]


def test_groups_are_parsed_at_any_depth():
    parsed = _Outer.parse({"inner": {"size": 1}, "many": {"a": {"size": 2, "names": ["x"]}}}, "c")
    assert parsed == _Outer(_Inner(1), {"a": _Inner(2, ("x",))})
    for values, words in (
        ({"inner": 3, "many": {}}, "c.inner is 3; it must be a group of fields"),
        ({"inner": {"size": 1}, "many": {"a": None}}, "c.many.a is None; it must be a group of fields"),
        ({"inner": {"size": 1}, "many": {"a": {"size": 0}}}, "c.many.a.size is 0; it must be at least 1"),
        ({"inner": {"size": 1, "names": [5]}, "many": {}}, r"c.inner.names\[0\] is 5; it must be text"),
        ({"inner": {}, "many": {}}, "c.inner.size is missing"),
    ):
        with pytest.raises(InputError, match=f"^{words}"):
            _Outer.parse(values, "c")


def test_arguments_are_those_of_the_function():
    def function(clips, train=False, *, stage: str = "features", t: float | int = 100):
        del clips, train, stage, t

    check_arguments(function, {"stage": "x", "t": 5}, "apply", ("clips", "train"))
    for given, words in (
        ({"stag": "x"}, "apply.stag does not exist; of such arguments there are stage, t"),
        ({"train": True}, "apply.train does not exist"),
        ({"t": "5"}, "apply.t is '5'; it must be a number"),
    ):
        with pytest.raises(InputError, match=words):
            check_arguments(function, given, "apply", ("clips", "train"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("phases.spatial.train", (5,), r"phases.spatial.train\[0\] is 5; it must be text"),
        ("phases.spatial.optimizer.no_decay", ("(",), r"no_decay\[0\] is '\('; it must be a regular expression"),
        ("phases.spatial.lr_multipliers", ((".*", "b"),), r"lr_multipliers\[0\]\[1\] is 'b'; it must be a number"),
        ("phases.spatial.schedule.warmup_steps", 10**24, "warmup_steps is 10+; it must be below"),
        ("phases.spatial.batch_size", 10**30, "batch_size is 10+; it must be below"),
        ("phases.spatial.batch_size", True, "batch_size is True; it must be a whole number"),
        ("phases.spatial.clip.num_clips", 2**30, "num_clips is .*; with length = 1 it must leave at most 100,000 frames"),
        ("phases.spatial.losses.triplet.margin", math.nan, "losses.triplet.margin is nan; it must be a finite number"),
        ("phases.spatial.losses", 5, "phases.spatial.losses is 5; it must be a group of fields"),
        ("phases.spatial", None, "phases.spatial is None; it must be a group of fields"),
        ("phase_order", ("spatial", 5), r"phase_order\[1\] is 5; it must be text"),
        ("data.mean", ("a", "b", "c"), r"data.mean\[0\] is 'a'; it must be a number"),
        ("data.mean", (0.5,), r"data.mean is \(0.5,\); it must be three numbers"),
        ("data.num_threads", 1_000_000, "data.num_threads is 1000000; it must be at least 1 and at most 1,024"),
        ("data.path", "~nouser", "data.path is '~nouser'; it must be a path where something can be"),
        ("data.data_dir", "a" * 300, "data.data_dir is .*; it must be a path where something can be"),
        ("data", (), r"config.data is \(\); it must be a group of fields"),
        ("evaluation.selections", (5,), r"evaluation.selections\[0\] is 5; it must be text"),
        ("evaluation.protocols", ((),), r"evaluation.protocols\[0\] is \(\); it must be text"),
        ("evaluation.streams", {"a": 3}, "evaluation.streams.a is 3; it must be a group of fields"),
        ("evaluation.rerank", 1, "evaluation.rerank is 1; it must be True or False"),
        ("init_patterns", ("(",), r"init_patterns\[0\] is '\('; it must be a regular expression"),
        ("inflation", 5, "inflation is 5; it must be text"),
        ("seed", 1.5, "seed is 1.5; it must be at least 0 and below"),
        ("model", "m3d", "config.model is 'm3d'; it must be a group of fields"),
    ],
)  # fmt: skip
def test_no_configuration_holds_a_value_of_another_kind(field, value, words):
    config = from_file("m3d:walkers").copy_and_resolve_references()
    above, _, last = field.rpartition(".")
    with config.unlocked(), config.ignore_type():
        group = config
        for part in filter(None, above.split(".")):
            group = group[part]
        group[last] = value
    with pytest.raises(InputError, match=words):
        parse_run(config)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("two_stream_m3d", {"stage_sizes": ("a",)}, "stage_sizes is .*; it must be a tuple of 4: a whole number, "),
        ("two_stream_m3d", {"stage_sizes": (1, 1, 1, 10**6)}, r"stage_sizes\[3\] is 1000000; it must be at least 1 and at"),
        ("nonlocal3d", {"non_local_after": {"res3": ("a",)}}, r"non_local_after.res3\[0\] is 'a'; it must be a whole number"),
        ("person_vlad", {"alpha": math.nan}, "alpha is nan; it must be a finite number"),
        ("person_vlad", {"classifiers": (5,)}, r"classifiers\[0\] is 5; it must be text"),
        ("clip_similarity", {"hidden": (1024, 0)}, r"hidden\[1\] is 0; it must be at least 1"),
        ("clip_similarity", {"dropout": 1}, "dropout is 1; it must be at least 0 and below 1"),
        ("strong_baseline", {"losses_behind": "no"}, "losses_behind is 'no'; it must be True or False"),
        ("strong_baseline", {"dtype": "half"}, "dtype is 'half'; it is one of float32"),
        ("resnet50", {"width": None}, "width is None; it must be a whole number"),
    ],
)  # fmt: skip
def test_no_model_has_a_field_of_another_kind(name, fields, words):
    with pytest.raises(InputError, match=f"model '{name}': {words}"):
        models.create(name, **fields)


def test_adaptation_follows_the_same_rules():
    for fields, words in (
        ({"rounds": True}, "adaptation.rounds is True; it must be a whole number"),
        ({"learning_rate": math.inf}, "adaptation.learning_rate is inf; it must be a finite number"),
        ({"steps": 10**10}, "adaptation.steps is 10000000000; it must be below"),
        ({"augment": {"flip": "a"}}, "adaptation.augment.flip is 'a'; it must be a number"),
    ):
        with pytest.raises(InputError, match=words):
            AdaptationSettings.parse(fields, "adaptation")


def test_a_configuration_file_that_exits_is_one_sentence(tmp_path):
    (tmp_path / "config.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(InputError, match=r"config.py line 2 is not a configuration: SystemExit: 0"):
        from_file(str(tmp_path / "config.py"))


def test_brackets_without_end_are_text():
    with pytest.raises(InputError, match=r"config.seed = .*… is of the wrong type"):
        from_file("m3d:walkers,seed=" + "[" * 5000)


def test_a_configuration_is_read_as_it_is_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, text = tmp_path / "config.py", "import ml_collections\ndef get_config(argument=None):\n    return {}\n"
    for value in (1, 2):
        file.write_text(text.format(f"ml_collections.ConfigDict({{'a': {value}}})"))
        os.utime(file, (10**9, 10**9))  # a second change within a second, of the same length
        assert from_file(str(file)).a == value
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]
