"""Two VGG-16 networks, on frames and on optical flow (Wu et al.: 3D PersonVLAD, 2018, Table VII).

`mars`, `ilids_vid`, `prid2011`: 224x224, from ImageNet weights, `--config.init_from=vgg16.pth`; the paper is silent on the
recipe (SGD 1e-3, divided by 10 at two thirds, dropout 0.5: choices). Its rank-1 on MARS / iLIDS-VID / PRID 2011: maximum
of the two fc7 65.7 / 56.2 / 71.6, average 65.9 / 57.1 / 73.8, product 67.8 / 60.4 / 76.3; ActionVLAD 76.5 / 65.6 / 83.7.
`walkers` (default) and `folder`: an eighth of the width, with batch norm, 64x32, trained from nothing, in 6.5 minutes of
one core's time for the steps (docs/two_stream.md says how it was measured):

    python3 -m vreid_jax.main --config=configs/two_stream_vgg.py

Behind the dataset, `fusion=max`, `average`, `product` (default) or `scores` names the row that is the main one; the others
are scored beside it. `fusion=vlad` is the row in the manner of ActionVLAD, with a phase of its own, whose gradients are
clipped, and with α = 30, at which its assignment learns. The optical flow of the dataset is computed on first use, or
before by `vreid data flow`; `data.flow=farneback` takes another method.
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase
from vreid_jax.errors import InputError

FUSIONS = ("max", "average", "product", "scores")
_JITTER = {"flip": 0.5, "enlarge_crop": 0.5}
_CLIP = 1.0  # the gradient of a residual that is alone in its cell grows as its length shrinks


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    config = default("two_stream_vgg", dataset)
    fusion = changes.pop("fusion", "product")
    if fusion not in (*FUSIONS, "vlad"):
        raise InputError(f"fusion is {fusion!r}; it is one of {', '.join(FUSIONS)}, vlad")
    config.model = {
        "name": "two_stream_vgg",
        "width": 8 if small else 64,
        "hidden_size": 128 if small else 4096,
        "dropout": 0.0 if small else 0.5,
        "batch_norm": small,  # without it, a network this deep does not start from nothing in minutes
        "num_clusters": (16 if small else 64) if fusion == "vlad" else 0,
        "alpha": 30.0,  # at 1000 the assignment cannot learn
        "kmeans_batches": 20 if small else 100,
    }
    config.data.height, config.data.width = (64, 32) if small else (224, 224)
    config.data.num_threads = 2 if small else 8
    recipe = {
        "augment": _JITTER,
        "optimizer": {"name": "adam", "learning_rate": 1e-3, "weight_decay": 0.0} if small else {"learning_rate": 1e-3},
        "schedule": {"name": "step", "boundaries": (2 / 3,), "warmup_steps": 50 if small else 0},
    }
    single = {"kind": "random", "length": 1, "stride": 1}
    config.phases = {
        name: phase(
            sampler="frames",
            batch_size=64,
            clip=single,
            apply={"stream": name},
            train=(f"{name}/.*",),
            total_steps=1000 if small else 20_000,
            **recipe,
        )
        for name in ("spatial", "temporal")
    }
    config.phase_order = ("spatial", "temporal")
    evaluated = (*FUSIONS, "spatial", "temporal")
    if fusion == "vlad":
        clipped = {**recipe, "optimizer": {**recipe["optimizer"], "clip_norm": _CLIP}}
        config.phases.vlad = phase(
            batch_size=32,
            clip={"kind": "evenly", "length": 4, "stride": 1},
            apply={"stream": "vlad"},
            train=("vlad_.*", r"(spatial|temporal)/conv5_\d/.*"),
            total_steps=200 if small else 10_000,
            **clipped,
        )
        config.phase_order, evaluated = ("spatial", "temporal", "vlad"), ("vlad",)
    # At 224x224 every position costs 2 x 31 GFLOP: 16 of a tracklet (a choice) instead of all.
    kind = {"kind": "evenly", "length": 1, "num_clips": 8 if small else 16}
    config.evaluation.streams = {name: evaluation_stream(apply={"stream": name}, **kind) for name in evaluated}
    config.evaluation.headline = fusion
    config.evaluation.metric = "cosine"  # products and sums of fc7 differ in length more than in direction (a choice)
    return finish(config, changes)
