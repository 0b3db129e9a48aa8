"""What a run starts from: which of it counts as trained, and what else than its tensors it was trained with."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from vreid_jax import inference, models
from vreid_jax.errors import InputError
from vreid_jax.experiment.initialisation import check_source, initial_variables, source_of
from vreid_jax.model_files.weights_file import preprocessing, save_weights
from vreid_jax.models.registry import IMAGENET_MEAN, IMAGENET_STD
from vreid_jax.training.network import Network

CENTRES = {"params": {"vlad": {"centres": np.ones((2, 3), np.float32)}}}


@pytest.mark.parametrize(("stated", "trained"), [({"system": "vlad"}, ["params/vlad/centres"]), ({}, [])])
def test_only_the_file_of_a_run_counts_as_trained(tmp_path, stated, trained):
    """Weights of another project that were converted for a system say nothing of its own parts, which are random."""
    save_weights(tmp_path / "it.safetensors", CENTRES, "person_vlad", {}, "of nobody", **stated)
    found, kept = initial_variables(str(tmp_path / "it.safetensors"), CENTRES, model="person_vlad")
    np.testing.assert_array_equal(found["params"]["vlad"]["centres"], 1)
    assert kept == trained


def test_nor_does_a_file_made_of_converted_weights(toy, untrained, tmp_path):
    converted, file = untrained(toy), tmp_path / "it.safetensors"  # it does not know a run
    inference.save(converted, file, half=True)
    assert initial_variables(str(file), converted.variables, model="toy")[1] == []


def compared(file, name, mean=IMAGENET_MEAN, std=IMAGENET_STD, **fields):
    """Compare what `file` says of itself with a network of these fields, as before a run."""
    check_source(str(file), source_of(str(file)), Network(models.create(name, **fields), mean, std))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("resnet50_bnneck", {"num_classes": 5}),
        ("strong_baseline", {"backbone_fields": {"last_stride": 2}}),
        ("two_stream_m3d", {}),
    ],
)
@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"stem_relu": False}, "with model.stem_relu = False, and this run has True"),
        ({"stem_pool": "ceil"}, "with model.stem_pool = 'ceil', and this run has 'padded'"),
    ],
)
def test_weights_of_another_stem_are_refused(tmp_path, name, fields, stated, words):
    file = tmp_path / "it.safetensors"
    save_weights(file, {"params": {}}, "resnet50_bnneck", stated, "of nobody")
    with pytest.raises(InputError, match=f"it.safetensors was trained {words}"):
        compared(file, name, **fields)
    if name == "strong_baseline":
        compared(file, name, backbone_fields=stated)


KINETICS = {"network": "inflated", "temporal_shortcut": "subsample", "temporal_pool": True}


@pytest.mark.parametrize(
    ("source", "fields", "differ"),
    [
        (("resnet3d_50", {}), {"network": "inflated"}, ["model.temporal_pool = True, not False", "temporal_shortcut"]),
        (("resnet3d_50", {}), KINETICS, []),
        (("nonlocal3d", KINETICS), {"network": "inflated"}, ["temporal_pool", "temporal_shortcut = 'subsample', not"]),
        (("nonlocal3d", KINETICS), {"network": "average"}, []),  # which reads neither
        (("nonlocal3d", {"network": "average"}), KINETICS, []),
        (("nonlocal3d", {"non_local_scale": 0.5}), {}, ["model.non_local_scale = 0.5, not 1.0"]),
        (("nonlocal3d", {"non_local_scale": 0.5, "non_local": False}), {}, []),
        (("resnet50_bnneck", {"last_stride": 1}), {"last_stride": 2}, []),
        (("resnet50", {"a_field_of_another_version": 1}), {}, []),
        (("a_model_that_is_not_registered", {}), {}, []),
    ],
)
@pytest.mark.parametrize("normalised", ["as it was", "otherwise"])
def test_other_fields_than_the_weights_were_trained_with_are_told(tmp_path, caplog, source, fields, differ, normalised):
    file, (name, stated) = tmp_path / "it.safetensors", source
    known = name in models.names() and "a_field_of_another_version" not in stated
    seen = preprocessing(16, 8, (0.45, 0.42, 0.39), (1 / 255,) * 3, {})
    save_weights(file, {"params": {}}, name, stated, "of nobody", preprocessing=seen)
    if normalised == "as it was":
        compared(file, "nonlocal3d", (0.4501, 0.4199, 0.39), (0.00392,) * 3, **fields)
    else:
        compared(file, "nonlocal3d", **fields)
        differ = [*differ, "data.mean = (0.45, 0.42, 0.39), not (0.485,", "data.std"] if known else []
    assert len(caplog.records) == bool(differ)
    assert all(words in caplog.text for words in differ)
    assert ("was converted to a model with" in caplog.text) == bool(differ)
    assert caplog.text.count(" = ") == len(differ)


def test_a_run_says_its_normalisation_too(tmp_path, caplog):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "c3d"}, "data": {"mean": [0.1, 0.2, 0.3]}}))
    compared(tmp_path, "c3d", mean=(0.1, 0.2, 0.3), std=models.entry("c3d").std)
    assert not caplog.records
    compared(tmp_path, "c3d", mean=(0.1, 0.2, 0.4), std=models.entry("c3d").std)
    assert "was trained with data.mean = (0.1, 0.2, 0.3), not (0.1, 0.2, 0.4); unless you mean" in caplog.text


def test_a_state_dict_that_does_not_say_its_stem_is_refused_in_a_run_too(tmp_path):
    weights = tmp_path / "it.safetensors"
    save_file({"base.conv1.weight": np.zeros((4, 3, 7, 7), np.float32)}, weights)
    with pytest.raises(InputError, match="give stem_relu=False for reid-strong-baseline itself"):
        initial_variables(str(weights), CENTRES, model="resnet50_bnneck")
    with pytest.raises(InputError, match="is of another model"):  # it goes on to the tensors
        initial_variables(str(weights), CENTRES, model="resnet50_bnneck", fields={"stem_relu": False})


@pytest.mark.parametrize("lacks", ["classifier", "bn", "feature"])
def test_a_file_without_a_classifier_starts_a_run(tmp_path, lacks):
    """Such a file lacks the batch norm before the classifier, too, which begins anew; nothing explains other gaps."""
    head = {"feature": {"kernel": np.ones(2)}, "bn": {"scale": np.ones(2)}, "classifier": {"kernel": np.ones(2)}}
    whole = {"params": {"spatial": {"head": head}}, "batch_stats": {"spatial": {"head": {"bn": {"mean": np.ones(2)}}}}}
    zeros, file = jax.tree.map(np.zeros_like, whole), tmp_path / "it.safetensors"
    lean = {name: part for name, part in head.items() if name not in (lacks, "bn")}
    save_weights(file, {"params": {"spatial": {"head": lean}}}, "two_stream_m3d", {}, "of nobody", system="m3d")
    if lacks == "classifier":
        found, kept = initial_variables(str(file), zeros, model="two_stream_m3d")
        assert kept == ["params/spatial/head/feature/kernel"]
        assert (jax.tree.reduce(np.add, found) == 1).all()
    else:
        with pytest.raises(InputError, match=r"in the model without a value: .*params/spatial/head/bn/scale"):
            initial_variables(str(file), zeros, model="two_stream_m3d")


@pytest.mark.parametrize("of", ["osnet_x0_25", "resnet50_bnneck"])
def test_converted_networks_of_people_start_other_systems(tmp_path, caplog, of):
    """Their backbone is taken out of them; what lies beside it has no place, and is told."""
    file, ones = tmp_path / "it.safetensors", np.ones(2)
    own = {"backbone": {"conv1": {"kernel": ones}}, "head": {"bn": {"scale": ones}}}
    target = {"params": {"frames": {"conv1": {"kernel": 0 * ones}}, "neck": {"bn": {"scale": 0 * ones}}}}
    save_weights(file, {"params": own}, of, {}, "of nobody")
    found, kept = initial_variables(str(file), target, model="strong_baseline")
    assert (found["params"]["frames"]["conv1"]["kernel"] == 1).all()
    assert (found["params"]["neck"]["bn"]["scale"] == 0).all()
    assert (kept, caplog.messages) == ([], ["init_from: left out params/head/bn/scale"])
    save_weights(file, {"params": own}, of, {}, "of nobody", system="a run of it")
    with pytest.raises(InputError, match="is of another model; in it without a place: params/backbone/conv1/kernel"):
        initial_variables(str(file), target, model="strong_baseline")


def test_a_file_of_another_suffix_is_not_taken_for_a_run(tmp_path):
    weights = tmp_path / "model.pth.tar-60"  # as torchreid calls its own
    weights.write_bytes(b"PK")
    with pytest.raises(
        InputError, match=r"model\.pth\.tar-60 ends in '\.tar-60', expected \.pt, \.pth or \.safetensors"
    ):
        initial_variables(str(weights), CENTRES, model="osnet_x1_0")
