"""The registry: names, errors, and the exact size of every model in it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from vreid_jax import models
from vreid_jax.errors import InputError

# Trainable parameters at the default fields, that is without classifiers.
PARAMETERS = {
    "c3d": 27_655_936,  # 27 C D + D of each convolution
    "c3d_small": 4_651_008,
    "clip_similarity": 12_287_264 + 2_104_321 + 1_049_600,  # I3D, g and the projection
    "i3d_inception_v1": 12_287_264,  # the original's state dict less 410,000 of logits
    # torchreid's state dicts without classifiers: 147 w + 2 w of the stem, six blocks, pools, conv5 and fc.
    "osnet_x1_0": 2_169_508,
    "osnet_x0_75": 1_285_754,
    "osnet_x0_5": 630_034,
    "osnet_x0_25": 201_864,
    "osnet_ibn_x1_0": 2_170_532,  # two instance norms of 256 channels more
    "osnet_ain_x1_0": 2_169_508,  # instance norms in place of batch norms
    "person_vlad": 30_055_750,  # C3D, 3,078 of maps, 6 x 393,984 of parts, two sets of 64 x 256 centres and 64 biases
    "person_vlad_small": 6_262_854,
    "resnet50": 23_508_032,  # torchvision's 25,557,032 less its 2,049,000 of fc
    "resnet50_bnneck": 23_508_032 + 4_096,  # scale and bias of the neck
    "resnet50_m3d": 24_904_113,
    "resnet3d_50": 46_198_976,  # Hara's 47,018,576 less 819,600 of fc
    "resnet50_separable": 27_336_896,
    "resnet50_i3d": 46_161_344,
    "resnet50_p3d_a": 27_300_416,
    "resnet50_p3d_b": 27_288_704,
    "resnet50_p3d_c": 27_300_416,
    "nonlocal3d": 35_744_960,  # resnet50_separable, five blocks, 1,049,600 of the head's 512
    "strong_baseline": 23_508_032 + 2_048,  # resnet50 and the scale of the neck
    "vgg16": 134_260_544,  # torchvision's 138,357,544 less its 4,097,000 of the classifier
    "vgg16_bn": 134_268_992,  # scales and biases of 4,224 channels more
    "two_stream_vgg": 134_260_544 + 134_260_544 + 17 * 9 * 64,  # two, and 20 channels instead of 3
    "two_stream_m3d": 48_936_689,  # both, and 262,272 of feature in each head
}
# To trace a network takes a second; these differ from one beside them in a number or in the order of its layers.
OF_ANOTHER_WIDTH_OR_ORDER = {
    *("osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0"),
    *("resnet50_p3d_b", "resnet50_p3d_c"),
}
VARIANTS = {
    # The released network's own state dict has as many, heads left out.
    "released": ("resnet50_m3d", {"released": True}, 25_101_233),
    "no attention": ("resnet50_m3d", {"ral": ""}, 24_715_328),
    "no attention, plain stem": ("resnet50_m3d", {"ral": "", "stem_m3d": False}, 24_678_080),
    "classifiers": ("two_stream_m3d", {"num_classes": 625}, 49_098_451),
    "classifier with bias": ("osnet_x1_0", {"num_classes": 1041}, 2_169_508 + 513 * 1041),
    "classifier without bias": ("resnet50_bnneck", {"num_classes": 751}, 23_512_128 + 2048 * 751),
    # 2 C² + 9 C / 2 in each of five blocks of C = 512, 512, 1024, 1024, 1024 channels.
    "non-local blocks": (
        "resnet50_separable",
        {"non_local_after": {"res3": (1, 3), "res4": (1, 3, 5)}},
        27_336_896 + 7_358_464,
    ),
    "inflated": ("nonlocal3d", {"network": "inflated", "non_local": False}, 46_198_976 + 1_049_600),
    "average": ("nonlocal3d", {"network": "average"}, 23_508_032 + 1_049_600),
    # 2,048 to 256 channels of 3x3 with bias, and a score.
    "attention": ("nonlocal3d", {"network": "attention"}, 23_508_032 + 1_049_600 + 4_719_104),
    # Four gates of 2,048 inputs and 512 states with bias; the head then reads 512.
    "rnn": ("nonlocal3d", {"network": "rnn"}, 23_508_032 + 5_244_928 + 263_168),
    "strong baseline, classifier without bias": (
        "strong_baseline",
        {"num_classes": 625},
        23_508_032 + 2_048 + 625 * 2_048,
    ),
    "attention over frames": ("strong_baseline", {"pooling": "attention"}, 23_508_032 + 2_048 + 4_719_104),
    "last state": ("strong_baseline", {"pooling": "rnn"}, 23_508_032 + 5_244_928 + 512),
    "flow": ("two_stream_m3d", {"temporal": "flow"}, 2 * (23_508_032 + 262_272) + 17 * 49 * 64),
    "vgg16 on flow": ("vgg16", {"channels": 20, "num_classes": 625}, 134_260_544 + 17 * 9 * 64 + 4097 * 625),
    # Centres, and an assignment with bias, of 64 x 512 for each network; a batch norm and the classifier behind both.
    "vlad": (
        "two_stream_vgg",
        {"num_clusters": 64, "num_classes": 625},
        2 * (134_260_544 + 4097 * 625 + 64 * (2 * 512 + 1)) + 17 * 9 * 64 + 2 * 65_536 + 65_537 * 625,
    ),
    "lstm": ("two_stream_m3d", {"temporal": "lstm"}, 52_588_928),
    "global pooling": ("person_vlad", {"parts": "global"}, 27_655_936 + 393_984),
    "grid, averaged": ("person_vlad", {"parts": "grid", "aggregation": "average"}, 27_655_936 + 25 * 393_984),
}


def count(name, **fields):
    entry, module = models.entry(name), models.create(name, **fields)
    clips = jax.ShapeDtypeStruct((1, entry.clip_length, *entry.input_size, models.channels_of(module)), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), clips)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def test_the_table_is_complete():
    assert set(PARAMETERS) == set(models.names())


def slow_ones_marked(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in OF_ANOTHER_WIDTH_OR_ORDER else name for name in names]


@pytest.mark.parametrize("name", slow_ones_marked(PARAMETERS))
def test_parameters(name):
    assert count(name) == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_variants(variant):
    name, fields, expected = VARIANTS[variant]
    assert count(name, **fields) == expected


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet50_m3d'"):
        models.create("resnet50m3d")
    with pytest.raises(InputError, match="did you mean 'width'"):
        models.create("resnet50", widht=16)
    # What a 2-D network would silently ignore is not a field of it.
    with pytest.raises(InputError, match="no field 'ral'"):
        models.create("resnet50", ral="s")


def test_a_size_below_one_is_named():
    with pytest.raises(InputError, match="model 'person_vlad': num_parts is 0; it must be at least 1"):
        models.create("person_vlad", num_parts=0)
    with pytest.raises(InputError, match="model 'nonlocal3d': feature_size is -1"):
        models.create("nonlocal3d", feature_size=-1)


def test_entries_say_what_a_model_takes():
    entry = models.entry("two_stream_m3d")
    assert (entry.input_size, entry.clip_length) == ((256, 128), 8)
    assert len(entry.mean) == len(entry.std) == 3
    for name in models.names():
        known = {field.name for field in dataclasses.fields(models.entry(name).module)}
        assert set(models.entry(name).fields) <= known


def test_lists_become_hashable():
    assert models.create("resnet50", stage_sizes=[1, 1, 1, 1]).stage_sizes == (1, 1, 1, 1)
