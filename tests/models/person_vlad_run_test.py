"""Runs of PersonVLAD that would not be what their fields say: clips, centres and α are checked before the first step."""

import pytest

from vreid_jax import models
from vreid_jax.config import from_file, set_field
from vreid_jax.config.run import parse_run
from vreid_jax.errors import InputError


def check_run(changes, kept=(), source=None):
    """Ask the network of `configs/person_vlad.py` on walkers, with these fields, for such a run."""
    config = from_file("person_vlad")
    for field, value in changes.items():
        set_field(config, field, value)
    settings = parse_run(config)
    models.create(settings.model, **settings.model_fields).check_run(settings, kept, source or {})


TRAINED = ("params/vlad/centres", "params/vlad/kernel")
BACKBONE = {"model": {"alpha": 30, "kmeans_before": "joint"}, "phase_order": ["backbone"], "init_from": ""}


@pytest.mark.parametrize(
    ("changes", "kept", "source", "words"),
    [
        (
            {"phases.joint.clip.num_clips": 3, "model.clip_length": 4},
            (),
            {},
            r"phases\.joint\.clip\.num_clips is 3; then model\.clip_length, which is 4, must be phases\.joint\.clip\.length",
        ),
        ({"model.kmeans_before": "part"}, TRAINED, {}, "is 'part', expected one of backbone, joint, parts, or ''"),
        (
            {"model.kmeans_before": "parts", "phase_order": ("backbone", "joint")},
            (),
            {},
            r"model\.kmeans_before is 'parts', which is not among the phases that run, backbone, joint, so that the centres",
        ),
        # What comes from a run of the backbone alone is random, too.
        (
            {"phase_order": ("parts", "joint"), "init_from": "it"},
            TRAINED,
            BACKBONE,
            "init_from it brings centres that its",
        ),
        (
            {"phase_order": ("joint",)},
            TRAINED,
            BACKBONE | {"init_from": "c3d.safetensors", "init_patterns": ["backbone/.*"]},
            "brings centres that its run never set",
        ),
        (
            {"model.alpha": 1000.0},
            TRAINED,
            {"model": {"alpha": 30.0}},
            r"model\.alpha is 1000\.0, but .* alpha = 30\.0",
        ),
    ],
)
def test_a_run_that_would_not_be_what_its_fields_say_is_refused(changes, kept, source, words):
    with pytest.raises(InputError, match=words):
        check_run(changes, kept, source)


@pytest.mark.parametrize(
    ("changes", "kept", "source"),
    [
        ({}, (), {}),
        ({"phases.joint.clip.num_clips": 3}, (), {}),
        (
            {
                "phases.joint.clip.num_clips": 3,
                "model.clip_length": 4,
                "phase_order": ("parts",),
                "model.kmeans_before": "",
            },
            (),
            {},
        ),
        ({"model.kmeans_before": "parts"}, (), {}),
        ({"model.kmeans_before": "", "phase_order": ("backbone", "joint")}, (), {}),
        # It begins behind the phase before which the centres were set.
        ({"model.kmeans_before": "parts", "phase_order": ("joint",)}, TRAINED, {}),
        (
            {"phase_order": ("joint",)},
            TRAINED,
            {"model": {"alpha": 30, "kmeans_before": "joint"}, "phase_order": ["joint"]},
        ),
        ({"phase_order": ("joint",)}, TRAINED, BACKBONE | {"init_from": "runs/other", "init_patterns": [".*"]}),
        ({"model.kmeans_before": ""}, TRAINED, BACKBONE),
        # Nothing reads the centres.
        ({"phase_order": ("backbone",)}, (), {}),
        ({"phase_order": ("backbone",)}, TRAINED, BACKBONE),
        ({"phase_order": ("parts",), "model.aggregation": "average"}, (), {}),
        ({"phase_order": ("parts",), "model.parts": "global"}, (), {}),
        # The assignment is new, or its α is not known.
        ({"model.alpha": 1000.0}, ("params/backbone/conv1/kernel",), {"model": {"alpha": 30.0}}),
        ({"model.alpha": 1000.0}, TRAINED, {}),
        ({"model.alpha": 1000.0}, TRAINED, {"model": {"alpha": 1000}}),
    ],
)
def test_a_run_that_is_what_its_fields_say_is_not_refused(changes, kept, source):
    check_run(changes, kept, source)


def test_the_networks_with_flow_refuse_an_alpha_without_effect_too():
    settings = parse_run(from_file("two_stream_vgg:walkers,fusion=vlad"))
    module = models.create("two_stream_vgg", num_clusters=4, alpha=30.0)
    kept = ("params/spatial/fc6/kernel", "params/vlad_temporal/kernel")
    module.check_run(settings, kept, {"model": {"alpha": 30}})
    with pytest.raises(InputError, match=r"model\.alpha is 30\.0, but init_from brings an assignment .* alpha = 1000"):
        module.check_run(settings, kept, {"model": {"alpha": 1000.0}})
