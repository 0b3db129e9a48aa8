"""3D PersonVLAD (Wu et al.: 3D PersonVLAD, Learning Deep Global Representations for Video-based Person Re-ID, 2018).

`mars`: the paper's recipe; its Table II gives 80.8 rank-1 on MARS for a random tracklet as probe and the mean of an
identity's tracklets as gallery entry (here `tracklets_random_all`), Table IX 63.4 mAP. It starts from C3D of Sports-1M:
`--config.init_from=c3d.safetensors --config.init_patterns='("backbone/.*",)'`, whose source docs/person_vlad.md names.
`walkers` (default) and `folder`: C3D of five convolutions at quarter width, 8-frame clips of 64x32, trained from nothing
in three phases, the first in place of Sports-1M; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/person_vlad.py

Where the recipes depart from the paper, by what docs/person_vlad.md measured on walkers: every position is projected for
each part (`locations`; the paper can be read as `cubic` or `parts`); α = 30 instead of 1,000, at which the assignment of
descriptors to centres cannot learn; k-means sees trained parts; gradients are clipped; and the rate of `joint` is warmed up,
since some runs failed without. Small clips have no pool5, and parts of conv5b.

Baselines: `model.parts=global` (3D ConvNets + GP), `stripes`, `grid`; `model.num_parts`; `model.aggregation=average`,
`max`; `model.assignment=hard`; `model.descriptors=parts`, `locations`, `cubic`; behind the dataset also `baseline=c3d` (the
backbone alone) and `loss=softmax`.
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase, pop_clip_length
from vreid_jax.errors import InputError

_FLIP = {"flip": 0.5}
_JITTER = {"flip": 0.5, "enlarge_crop": 0.5}  # few identities: without it they are learnt by heart
_OIM = {"softmax": {"weight": 0.0}, "oim": {"weight": 1.0}}
_SOFTMAX = {"softmax": {"weight": 1.0}, "oim": {"weight": 0.0}}
_NEW_PARTS = ("(maps|parts|feature_head)/.*",)  # all that no other data set has taught, but for the centres
_CLIP = 1.0  # the gradient of a residual that is alone in its cell grows as its length shrinks
_EVERY_THOUSAND = tuple(number / 50 for number in range(1, 50))


def _adam(learning_rate: float, eps: float = 1e-4, clip_norm: float = 0.0) -> dict:
    return {"name": "adam", "learning_rate": learning_rate, "eps": eps, "weight_decay": 0.0, "clip_norm": clip_norm}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    config = default("person_vlad", dataset)
    baseline, loss = changes.pop("baseline", ""), changes.pop("loss", "oim")
    if baseline not in ("", "c3d") or loss not in ("oim", "softmax"):
        raise InputError(f"baseline is {baseline!r} and loss {loss!r}; they are c3d or nothing, oim or softmax")
    learned, length = loss == "softmax", pop_clip_length(changes, 8 if small else 16)
    config.model = {
        "name": "person_vlad_small" if small else "person_vlad",
        "width": 16 if small else 64,
        "fully_connected": False,
        "clip_length": length,
        "part_layer": "conv5b" if small else "pool5",
        "parts": "learned",
        "num_parts": 6,
        "descriptors": "locations",
        "hidden_size": 128 if small else 512,
        "feature_size": 64 if small else 256,
        "aggregation": "vlad",
        "num_clusters": 16 if small else 64,
        "alpha": 30.0,  # at the paper's 1000 the assignment cannot learn
        "assignment": "soft",
        "aggregate_over": "clip",
        "classifiers": (("c3d",) if small or baseline else ()) + (("feature",) if learned else ()),
        "classifier_norm": True,
        "kmeans_before": "joint",
        "kmeans_batches": 20 if small else 100,
    }
    batch_size = 30 if small else 15
    config.data.height, config.data.width = (64, 32) if small else (180, 90)
    config.data.num_threads = 2 if small else 8
    clip = {"kind": "consecutive", "length": length, "stride": 1}
    config.phases = {
        "backbone": phase(
            batch_size=batch_size,
            clip=clip,
            augment=_JITTER if small else _FLIP,
            apply={"stream": "c3d"},
            optimizer=_adam(1e-3, 1e-8) if small else _adam(1e-4),
            schedule={"name": "step", "boundaries": (0.75,)} if small else {},
            train=("(backbone|c3d_head)/.*",),
            total_steps=300 if small else 20_000,
        ),
        "parts": phase(
            batch_size=batch_size,
            clip=clip,
            augment=_JITTER if small else _FLIP,
            losses=_SOFTMAX if learned else _OIM,
            optimizer=_adam(0.003, clip_norm=_CLIP),
            schedule={"name": "step", "factor": 0.5, "boundaries": (0.5, 0.75) if small else _EVERY_THOUSAND},
            train=_NEW_PARTS,
            total_steps=100 if small else 50_000,
        ),
        "joint": phase(
            batch_size=batch_size,
            clip=clip,
            augment=_JITTER if small else _FLIP,
            losses=_SOFTMAX if learned else _OIM,
            optimizer=_adam(1e-3 if small else 1e-4, clip_norm=_CLIP),
            schedule={"name": "step", "boundaries": (0.75,), "warmup_steps": 40} if small else {"warmup_steps": 1000},
            train=("(backbone|maps|parts|vlad|feature_head)/.*",),
            total_steps=200 if small else 20_000,
        ),
    }
    config.phase_order = ("backbone",) if baseline else (("backbone",) if small else ()) + ("parts", "joint")
    apply = {"stream": "c3d" if baseline else None}
    config.evaluation.streams = {"clips": evaluation_stream("sliding", length, apply, stride=length // 2)}
    config.evaluation.selections = ("random/all", "random/random", "all/random", "all/all")
    return finish(config, changes)
