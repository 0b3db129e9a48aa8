"""Tables that translate PyTorch tensor names to paths of modules in this library.

A table is a sequence of (pattern, replacement): the first pattern that matches the whole name of a PyTorch *module*
(the tensor's name without its last part) gives the path of the Linen module, parts separated by "/".
"""

from __future__ import annotations

import re

from vreid_jax.models.backbones.osnet import WIDTHS
from vreid_jax.models.backbones.vgg import GROUPS

Rules = tuple[tuple[str, str], ...]

# torchvision's ResNet-50, Hara's 3-D ResNet, and the additions of the M3D paper's networks.
RESNET: Rules = (
    (r"((?:conv|bn)1(?:_t)?)", r"\1"),
    (r"layer(\d)\.(\d+)\.((?:conv|bn)\d(?:_t)?)", r"layer\1_\2/\3"),
    (r"layer(\d)\.(\d+)\.downsample\.0", r"layer\1_\2/downsample_conv"),
    (r"layer(\d)\.(\d+)\.downsample\.1", r"layer\1_\2/downsample_bn"),
    (r"conv1_t\.((?:conv|bn)\d)", r"m3d/\1"),
    (r"layer(\d)\.(\d+)\.conv2_t\.((?:conv|bn)\d)", r"layer\1_\2/m3d/\3"),
    (r"(attention\d)\.((?:conv\d|bn)_[sct])", r"\1/\2"),
    # Non-local blocks within a network, with the names of this library.
    (r"(non_local\d_\d+)\.(theta|phi|g)(?:\.0)?", r"\1/\2"),
    (r"(non_local\d_\d+)\.W\.0", r"\1/out"),
    (r"(non_local\d_\d+)\.W\.1", r"\1/bn"),
)
# A non-local block on its own: φ and g are in a sequence with their pool, if there is one.
NON_LOCAL: Rules = (
    (r"(theta|phi|g)(?:\.0)?", r"\1"),
    (r"W\.0", "out"),
    (r"W\.1", "bn"),
)
# DavideA's c3d-pytorch (`conv1`, `conv3a`) and mmaction2 (`conv1a.conv`, `conv3a.conv`).
C3D: Rules = (
    (r"(conv[12])(?:a\.conv)?", r"\1"),
    (r"(conv[345][ab])(?:\.conv)?", r"\1"),
    (r"(fc[67])", r"\1"),
)
I3D: Rules = (
    (r"(Conv3d_\w+)\.(conv3d|bn)", r"\1/\2"),
    (r"(Mixed_\w+)\.(b\d[ab]?)\.(conv3d|bn)", r"\1/\2/\3"),
)
# FastReID (`backbone`, `heads`) and reid-strong-baseline (`base`, `bottleneck`, `classifier`). `heads.weight` is a matrix
# of its own in FastReID's later versions; earlier ones have `heads.bnneck` and `heads.classifier`.
BNNECK: Rules = (
    *((rf"(?:backbone|base)\.{pattern}", rf"{ours}") for pattern, ours in RESNET),
    (r"heads\.(?:bottleneck(?:\.0)?|bnneck)|bottleneck", "bn"),
    (r"heads(?:\.classifier)?|classifier", "classifier"),
)
# torchreid's OSNet; OSNet-AIN numbers its streams where the others have letters, and its pools are not part of a stage.
OSNET: Rules = (
    (r"conv([15])\.(conv|bn)", r"conv\1/\2"),
    (r"conv(\d)\.(\d)\.conv2a\.(conv\d|bn)", r"conv\1_\2/conv2_0_0/\3"),
    (r"conv(\d)\.(\d)\.conv2b\.(\d)\.(conv\d|bn)", r"conv\1_\2/conv2_1_\3/\4"),
    (r"conv(\d)\.(\d)\.conv2c\.(\d)\.(conv\d|bn)", r"conv\1_\2/conv2_2_\3/\4"),
    (r"conv(\d)\.(\d)\.conv2d\.(\d)\.(conv\d|bn)", r"conv\1_\2/conv2_3_\3/\4"),
    (r"conv(\d)\.(\d)\.conv2\.(\d)\.layers\.(\d)\.(conv\d|bn)", r"conv\1_\2/conv2_\3_\4/\5"),
    (r"conv(\d)\.(\d)\.(conv1|conv3|downsample)\.(conv|bn)", r"conv\1_\2/\3/\4"),
    (r"conv(\d)\.(\d)\.(gate)\.(fc\d)", r"conv\1_\2/\3/\4"),
    (r"conv(\d)\.(\d)\.IN", r"conv\1_\2/IN"),
    (r"conv(\d)\.2\.0\.(conv|bn)", r"pool\1/\2"),
    (r"pool(\d)\.0\.(conv|bn)", r"pool\1/\2"),
    (r"fc\.0", "fc"),
    (r"fc\.1", "bn"),
    (r"classifier", "classifier"),
)
# torchvision's VGG-16, whose convolutions are numbered with what follows them: ReLUs, pools, batch norms.
_CONVOLUTIONS = tuple(f"{group}_{n}" for group, (count, _) in enumerate(GROUPS, start=1) for n in range(1, count + 1))
_FULLY_CONNECTED: Rules = ((r"classifier\.0", "fc6"), (r"classifier\.3", "fc7"), (r"classifier\.6", "classifier"))
_PLAIN = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_NORMED = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
VGG: Rules = (
    *((rf"features\.{number}", f"conv{name}") for number, name in zip(_PLAIN, _CONVOLUTIONS, strict=True)),
    *_FULLY_CONNECTED,
)
VGG_BN: Rules = (
    *((rf"features\.{number}", f"conv{name}") for number, name in zip(_NORMED, _CONVOLUTIONS, strict=True)),
    *((rf"features\.{number + 1}", f"bn{name}") for number, name in zip(_NORMED, _CONVOLUTIONS, strict=True)),
    *_FULLY_CONNECTED,
)
RULES: dict[str, Rules] = {
    **dict.fromkeys(
        (
            "resnet50",
            "resnet50_m3d",
            "resnet3d_50",
            "resnet50_separable",
            "resnet50_i3d",
            "resnet50_p3d_a",
            "resnet50_p3d_b",
            "resnet50_p3d_c",
            "two_stream_m3d",
            "nonlocal3d",
        ),
        RESNET,
    ),
    "strong_baseline": (*RESNET, *OSNET),  # of whichever backbone it has
    "resnet50_bnneck": BNNECK,
    **dict.fromkeys(WIDTHS, OSNET),
    **dict.fromkeys(("c3d", "person_vlad"), C3D),
    **dict.fromkeys(("vgg16", "two_stream_vgg"), VGG),
    "vgg16_bn": VGG_BN,
    **dict.fromkeys(("i3d_inception_v1", "clip_similarity"), I3D),
}

HEADS = (
    r"(fc|fc[678]|logits|classifier|feat|feat_bn)\..*|heads\.(classifier\.)?weight"
    r"|(.*\.)?num_batches_tracked|pixel_(mean|std)"
)

_NORM_LEAVES = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def is_head(name: str) -> bool:
    """Return whether a tensor belongs to a head, or counts batches or normalises pixels, which no backbone here has."""
    return re.fullmatch(HEADS, name) is not None


def translate(name: str, ndim: int, rules: Rules) -> tuple[str, ...] | None:
    """Return the path (collection, modules ..., leaf) of a tensor of `ndim` axes; None if no rule matches its name."""
    module, _, leaf = name.rpartition(".")
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, module)
        if match:
            path = tuple(match.expand(replacement).split("/"))
            if leaf == "weight" and ndim > 1:
                return ("params", *path, "kernel")
            if leaf in _NORM_LEAVES:
                collection, ours = _NORM_LEAVES[leaf]
                return (collection, *path, ours)
    return None
