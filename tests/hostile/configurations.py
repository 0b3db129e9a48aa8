"""Configurations: fields of any kind, the text of `--config`, its file, the fields of models, and of an adaptation."""

import contextlib
import dataclasses
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hostile import changes
from hostile.judge import Reader
from vreid_jax import models
from vreid_jax.adaptation.settings import AdaptationSettings
from vreid_jax.config import field_names, from_file
from vreid_jax.config.files import read_config
from vreid_jax.config.run import parse_run
from vreid_jax.experiment.phases import plan_phases
from vreid_jax.experiment.preflight import check_evaluation, check_training
from vreid_jax.experiment.setup import make_setup

SYSTEMS = ("m3d", "nonlocal3d", "person_vlad", "clip_similarity", "strong_baseline")
DATASETS = ("walkers", "mars", "prid2011", "folder")
_FILE = """from vreid_jax.config import from_file


def get_config(argument=None):
    return from_file("m3d:" + (argument or "walkers"))
"""


def readers(toy: ConfigDict) -> list[Reader]:
    """Return the readers of configurations; `toy` is a run of the toy system whose dataset is built."""
    return [
        Reader("settings", _nothing, _fields(None), _parse, share=4),
        Reader("preflight", _nothing, _fields(toy), _preflight, share=1.5),
        Reader("argument", _nothing, _argument, lambda folder, text: _parse(folder, from_file(text)), share=2),
        Reader("config file", _write_file, _change_file, _read_file, share=0.5),
        Reader(
            "config.json", _write_json, _change_json, lambda folder, given: _parse(folder, read_config(folder)), share=2
        ),
        Reader(
            "adaptation",
            _nothing,
            _adaptation,
            lambda folder, fields: AdaptationSettings.parse(fields, "adaptation"),
            share=1,
        ),
        Reader("network", _nothing, _network, _shapes, share=0.15),
    ]


def _nothing(folder: Path) -> None:
    (folder / "beside.txt").write_text("not to be touched")


def _fields(toy: ConfigDict | None):
    """Return a change that sets fields of a configuration to values of any kind, as a configuration file may."""

    def change(rng: random.Random, folder: Path) -> tuple[str, ConfigDict]:
        del folder
        config = toy if toy is not None else from_file(f"{rng.choice(SYSTEMS)}:{rng.choice(DATASETS)}")
        config, done = config.copy_and_resolve_references(), []
        with config.unlocked(), config.ignore_type():
            for _ in range(rng.choice((1, 1, 1, 2))):
                known = field_names(config)
                name = rng.choice(sorted(known))
                above, _, last = name.rpartition(".")
                if above and rng.random() < 0.1:  # the group instead of the field
                    above, _, last = above.rpartition(".")
                group = config
                for part in filter(None, above.split(".")):
                    group = group[part]
                if rng.random() < 0.08:
                    del group[last]
                    done.append(f"{above}.{last} removed")
                    continue
                like = group[last]
                value = changes.value(rng, like.to_dict() if isinstance(like, ConfigDict) else like)
                with contextlib.suppress(ValueError, TypeError):  # a ConfigDict does not hold every name and value
                    group[last] = tuple(value) if isinstance(value, list) and rng.random() < 0.5 else value
                done.append(f"{above}.{last} = {str(value)[:60]!r}")
        return f"{config.get('system')}: {'; '.join(done)}", config

    return change


def _parse(folder: Path, config: ConfigDict) -> Any:
    """Parse a configuration and make its module; what passes must be sound."""
    del folder
    settings = parse_run(config)
    _check_sound(settings)
    if settings.model in models.names():
        models.create(settings.model, **{**settings.model_fields, "num_classes": 3})
    return settings


def _check_sound(value: Any) -> None:
    """Raise `AssertionError` for a number or a text that no setting may have, whatever its field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name not in ("model_fields", "apply", "similarity"):  # checked against what takes them
                _check_sound(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_sound(part)
    elif isinstance(value, int | float):
        assert math.isfinite(value), value
        assert abs(value) < 2**32 or isinstance(value, float), value
    elif isinstance(value, str):
        assert "\0" not in value


def _preflight(folder: Path, config: ConfigDict) -> None:
    """Everything that a training does before it writes."""
    setup = make_setup(config, folder / "run")
    plans = plan_phases(setup)
    check_evaluation(setup)
    check_training(setup, plans)


def _argument(rng: random.Random, folder: Path) -> tuple[str, str]:
    del folder
    good = f"{rng.choice(SYSTEMS)}:{rng.choice(DATASETS)}"
    known = field_names(from_file(good))
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(sorted(known))
        good += f",{name}={changes.value(rng, known[name]) if rng.random() < 0.8 else rng.choice(changes.TEXTS)}"
    if rng.random() < 0.5:
        good = changes.text(rng, good)
    good += rng.choice(("", "", "", ",x=" + "[" * 3000, ",seed=" + changes.LONG_INTEGER, ",a..b=1", ",=", ",.=1"))
    return good[:200], good


def _write_file(folder: Path) -> None:
    (folder / "config.py").write_text(_FILE)


def _change_file(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "config.py"
    kind = rng.choice(("content", "place", "program", "program"))
    if kind == "content":
        return changes.file_content(rng, file), None
    if kind == "place":
        return changes.place(rng, file), None
    program = rng.choice(
        (
            "raise SystemExit",
            "import sys; sys.exit(3)",
            "def get_config(argument=None):\n    return 1 / 0\n",
            "def get_config(argument=None):\n    return {'a': 1}\n",
            "def get_config():\n    return 1\n",
            "get_config = 5",
            "raise ValueError('two\\nlines')",
            "def get_config(argument=None):\n    return get_config(argument)\n",
            "",
        )
    )
    file.write_text(program)
    return program, None


def _read_file(folder: Path, given: None) -> Any:
    return _parse(folder, from_file(f"{folder / 'config.py'}:walkers"))


def _write_json(folder: Path) -> None:
    (folder / "config.json").write_text(from_file("m3d:walkers").to_json(indent=1))


def _change_json(rng: random.Random, folder: Path) -> tuple[str, None]:
    file = folder / "config.json"
    if rng.random() < 0.3:
        return changes.file_or_place(rng, folder), None
    changed, done = changes.json_text(rng, file.read_text())
    file.write_text(changed, errors="surrogatepass")
    return done, None


def _adaptation(rng: random.Random, folder: Path) -> tuple[str, dict]:
    del folder
    fields = {field.name: field.default for field in dataclasses.fields(AdaptationSettings)}
    chosen = rng.sample(sorted(fields), rng.choice((1, 1, 2)))
    values = {name: changes.value(rng, fields[name]) for name in chosen}
    return str(values)[:200], values


def _network(rng: random.Random, folder: Path) -> tuple[str, tuple]:
    """Change a field of a model of the small size."""
    del folder
    config = from_file(f"{rng.choice(SYSTEMS)}:walkers")
    fields = config.model.to_dict()
    name = fields.pop("name")
    field = rng.choice(sorted(models.entry(name).fields))
    fields[field] = changes.value(rng, fields.get(field, getattr(models.entry(name).module, field, None)))
    return f"{name}: {field} = {str(fields[field])[:100]!r}", (name, fields)


def _shapes(folder: Path, given: tuple) -> Any:
    """Make the network and trace it on a small clip; a field may rule the clip out, but only in one sentence."""
    del folder
    name, fields = given
    module = models.create(name, **{"num_classes": 3, **fields})
    clips = jax.ShapeDtypeStruct((1, 8, 32, 16, 3), jnp.float32)
    return str(jax.eval_shape(module.init, jax.random.key(0), clips))[:100]
