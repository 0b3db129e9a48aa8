"""Streams that a run takes over from another one, which may never have trained them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from vreid_jax import models
from vreid_jax.config import from_file, set_field
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError
from vreid_jax.experiment.initialisation import source_of
from vreid_jax.inference import loading
from vreid_jax.inference.model import Model
from vreid_jax.model_files.weights_file import save_weights
from vreid_jax.models.inheritance import begun, never_trained
from vreid_jax.training.checkpoints import Checkpoints
from vreid_jax.training.position import Position

BOTH = ("params/spatial/conv/kernel", "params/temporal/conv/kernel")
SPATIAL = {"phase_order": ["spatial"], "init_from": ""}


def check_run(file, kept, source, **changes):
    """Ask the network of a configuration for a run that starts from `source`, of which it keeps these variables."""
    config = from_file(file)
    for field, value in {"init_from": "runs/it", **changes}.items():
        set_field(config, field, value)
    settings = parse_run(config)
    models.create(settings.model, **settings.model_fields).check_run(settings, kept, source)


@pytest.mark.parametrize(
    ("file", "kept", "source", "named"),
    [
        ("m3d", BOTH, SPATIAL, "params/temporal/conv/kernel .* phase 'temporal'"),
        ("m3d:walkers,streams=temporal", BOTH, SPATIAL, "params/temporal"),
        ("m3d", BOTH, {"phase_order": ["temporal"]}, "params/spatial/conv/kernel .* phase 'spatial'"),
        (  # its own start had no such stream either
            "m3d",
            BOTH,
            SPATIAL | {"init_from": "resnet50.pth", "init_patterns": ["spatial/.*"]},
            r"set init_patterns to what it trained, as \('spatial/\.\*',\)",
        ),
        ("two_stream_vgg", BOTH, SPATIAL, "phase 'temporal'"),
        (
            "two_stream_vgg:walkers,fusion=vlad",
            ("params/vlad_spatial/centres",),
            {"phase_order": ["spatial", "temporal"]},
            "params/vlad_spatial/centres .* phase 'vlad'",
        ),
    ],
)
def test_a_stream_that_the_other_run_never_trained_is_refused(file, kept, source, named):
    with pytest.raises(InputError, match=f"init_from runs/it brings .*{named}"):
        check_run(file, kept, source)


@pytest.mark.parametrize(
    ("file", "kept", "source"),
    [
        ("m3d", BOTH, {"phase_order": ["spatial", "temporal"]}),
        ("m3d", BOTH, {}),  # a state dict does not say
        ("m3d", BOTH[:1], SPATIAL),
        ("m3d:walkers,streams=spatial", BOTH, SPATIAL),  # reads the one that was trained
        ("m3d", BOTH, SPATIAL | {"init_from": "runs/both", "init_patterns": [".*"]}),
        ("two_stream_vgg:walkers,fusion=max", ("params/vlad_spatial/centres",), {"phase_order": ["spatial"]}),
    ],
)
def test_other_runs_are_taken_over(file, kept, source):
    check_run(file, kept, source)


@pytest.mark.parametrize(
    ("file", "order", "kept", "init_from", "part"),
    [
        ("m3d", ("spatial",), (), "", "temporal"),
        ("m3d", ("temporal",), (), "", "spatial"),
        ("m3d", ("temporal",), BOTH[1:], "runs/it", "spatial"),
        ("m3d", ("temporal",), (), "resnet50.pth", "spatial"),  # which brings its backbone and not its feature
        ("two_stream_vgg", ("spatial",), (), "", "temporal"),
        ("two_stream_vgg:walkers,fusion=vlad", ("spatial", "temporal"), (), "", "vlad"),
        ("two_stream_vgg:walkers,fusion=vlad", ("spatial", "temporal"), (), "vgg16.pth", "vlad"),
    ],
)
def test_a_part_that_nothing_trains_is_not_scored(file, order, kept, init_from, part):
    with pytest.raises(InputError, match=f"would score the part '{part}' of the network untrained"):
        check_run(file, kept, {}, phase_order=order, init_from=init_from)


def test_scores_are_not_taken_of_a_classifier_that_nothing_trains():
    """It begins anew for another number of people, while the rest of its network comes trained."""
    config = {"source": {}, "phase_order": ("temporal",)}
    with pytest.raises(InputError, match=r"would take the classifier of the network 'spatial', which no phase trains"):
        check_run("two_stream_vgg", BOTH, **config)
    with pytest.raises(InputError, match=r"would take the classifier of the network 'spatial'"):
        check_run("two_stream_vgg", (), **config, init_from="vgg16.pth")  # whose classifier is of ImageNet
    check_run("two_stream_vgg", (*BOTH, "params/spatial/classifier/kernel"), **config)
    alone = {"phases.spatial.train": ("spatial/classifier/.*",), "phase_order": ("spatial", "temporal")}
    check_run("two_stream_vgg", BOTH, {}, **alone)
    with pytest.raises(InputError, match=r"would take the classifier of the network 'spatial'"):
        check_run("two_stream_vgg", BOTH, {}, **{**alone, "phases.spatial.train": ("spatial/conv.*",)})
    check_run("two_stream_vgg:walkers,fusion=vlad", BOTH, {}, phase_order=("vlad",))


@pytest.mark.parametrize(
    ("file", "order", "kept", "init_from"),
    [
        ("m3d", ("temporal",), BOTH[:1], "runs/2d"),
        ("m3d:walkers,streams=temporal", ("temporal",), (), "resnet50.pth"),
        ("m3d", ("spatial", "temporal"), (), ""),
        ("two_stream_vgg:walkers,fusion=vlad", ("temporal", "vlad"), (), "vgg16.pth"),  # fc7 is its feature
    ],
)
def test_a_part_that_is_trained_here_or_elsewhere_is_scored(file, order, kept, init_from):
    check_run(file, kept, {}, phase_order=order, init_from=init_from)


def test_a_file_says_which_phases_its_run_had(toy_file, tmp_path):
    config = json.loads(from_file(str(toy_file)).to_json())
    config |= {"phase_order": ["spatial"], "init_from": "resnet50.pth"}
    config["model"].pop("name")
    file = tmp_path / "it.safetensors"
    save_weights(file, {"params": {"x": np.zeros(2)}}, "m3d", {"width": 4}, "of nobody", config=config)
    found = source_of(str(file))
    assert (found["phase_order"], found["init_from"], found["model"]) == (
        ["spatial"],
        "resnet50.pth",
        {"name": "m3d", "width": 4},
    )
    whole = config | {"phase_order": ["spatial", "temporal"]}
    save_weights(file, {"params": {}}, "m3d", {}, "of nobody", config=whole, phase="spatial")
    assert source_of(str(file))["phase_order"] == ["spatial"]
    save_weights(file, {"params": {}}, "m3d", {}, "of nobody", config=config | {"phase_order": [3]})
    with pytest.raises(InputError, match=r"it\.safetensors is damaged: config\.phase_order"):
        source_of(str(file))


def test_a_run_that_was_stopped_has_only_the_phases_that_it_began(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"phase_order": ["spatial", "temporal", "vlad"]}))
    for step, phase, count in ((3, "spatial", 1), (9, "temporal", 2)):
        checkpoints = Checkpoints(tmp_path, keep=2)
        checkpoints.save(step, {"params": {"x": np.zeros(2)}}, Position(phase, 3, step - 3, 1.0))
        checkpoints.close()
        assert source_of(str(tmp_path))["phase_order"] == ["spatial", "temporal", "vlad"][:count]


@pytest.mark.parametrize("inherited", [(), ("params/temporal/conv", "params/spatial/conv")])
def test_what_a_stopped_run_had_of_another_project_does_not_count_as_trained(tmp_path, inherited):
    told = {"phase_order": ["spatial", "temporal"], "init_from": "resnet50.pth", "init_patterns": [".*"]}
    (tmp_path / "config.json").write_text(json.dumps(told))
    checkpoints = Checkpoints(tmp_path, keep=2)
    place = Position("spatial", 3, 0, 1.0, inherited)
    checkpoints.save(3, {"params": {"x": np.zeros(2)}}, place)
    checkpoints.close()
    reached = loading._reached(dataclasses.asdict(place), told["phase_order"])
    assert reached == {"phase": "spatial", "inherited": ["params/spatial", "params/temporal"] if inherited else []}
    file = tmp_path / "it.safetensors"
    config = from_file("m3d").to_dict() | told
    save_weights(file, {"params": {}}, "m3d", {}, "of nobody", config=config, system="m3d", **reached)
    for source in (source_of(str(tmp_path)), source_of(str(file)), begun(told, reached)):
        assert never_trained(source, "temporal", ["params/temporal/conv"]) == (not inherited)


@pytest.mark.parametrize(
    ("file", "stopped", "missing"),
    [
        ("m3d", "spatial", "'temporal'"),
        ("m3d", "temporal", ""),
        ("m3d", "", ""),  # a file of before it was told
        ("m3d:walkers,streams=spatial", "spatial", ""),
        ("two_stream_vgg:walkers,fusion=vlad", "spatial", "'temporal' and 'vlad'"),
        ("person_vlad", "backbone", "'vlad'"),
        ("person_vlad", "joint", ""),
        ("nonlocal3d", "main", ""),
    ],
)
def test_vectors_of_a_part_that_was_never_trained_are_warned_of(file, stopped, missing, caplog):
    """The run was stopped before the phase of that part, and its workdir or file is loaded."""
    config = from_file(file)
    fields = {key: value for key, value in config.model.to_dict().items() if key != "name"}
    names = ("spatial/conv", "temporal/conv", "vlad_spatial/centres", "vlad/centres")
    params = {name.split("/")[0]: {name.split("/")[1]: np.zeros(2)} for name in names}
    about = {"phase": stopped} if stopped else {}
    model = Model(config.model.name, fields, config, {"params": params}, (0.0,) * 3, (1.0,) * 3, about)
    assert loading._told(Path("it"), model) is model
    assert (f"stopped in its phase {stopped!r}, and its vectors are made of {missing}, too" in caplog.text) == bool(
        missing
    )
    assert len(caplog.records) == bool(missing)
