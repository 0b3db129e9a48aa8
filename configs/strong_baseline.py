"""The strong baseline that pictures are compared with (Luo et al., Bag of Tricks, 2019), on clips.

A 2-D network on frames, the mean over time, and a batch norm neck: features before it for the triplet loss, behind it for
the classifier and for retrieval by the cosine. Label smoothing, random erasing, flip, pad-and-crop, colour jitter, warm-up
and cosine, an average of the weights.

`mars`: 8 frames from 8 parts of a tracklet, 16 identities x 4 clips. No paper's number belongs to exactly this recipe, and
it has not been run:

    python3 -m vreid_jax.main --config=configs/strong_baseline.py:mars --config.init_from=resnet50.pth

Its variants are fields:

    --config.model.pooling=attention                        over time; also rnn
    --config.phases.clips.losses.center.weight=0.001        the centre loss, at the weight of the paper's code
    --config.phases.clips.losses.circle.weight=1.0          also contrastive
    --config=configs/strong_baseline.py:mars,model.backbone=NAME    any network of models/backbones/frames.py

`walkers` (default) and `folder`: quarter width, one block a stage, 64x32, trained from nothing; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/strong_baseline.py

On `walkers/wild`, whose people are drawn to be as varied as those of a street, a small model for real people is trained: on
frames, by nothing but a supervised contrastive loss (τ = 0.1) behind the neck, with strong augmentation. The model that
comes with the library is of this recipe (its card says how exactly; `benchmarks/pretrain.sh` trains three seeds and measures
them on a real video); some 55 minutes on two CPU cores, or 5 on a GPU with 16 cores, which the frames need:

    python3 -m vreid_jax.main --config=configs/strong_baseline.py:walkers,data.name=walkers/wild --config.data.num_workers=14
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase

_AUGMENT = {"flip": 0.5, "pad_crop": 1.0, "color_jitter": 0.5, "erase": 0.5}
_FULL = {
    "batch_size": 64,
    "identities_per_batch": 16,
    "clip": {"kind": "evenly", "length": 8, "stride": 1},
    "augment": _AUGMENT,
    "optimizer": {"name": "adam", "learning_rate": 3.5e-4, "weight_decay": 5e-4, "ema": 0.999},
    "schedule": {"name": "cosine", "final_factor": 0.002, "warmup_steps": 400},
    "total_epochs": 240,
}
_SMALL = {
    "batch_size": 32,
    "identities_per_batch": 8,
    "clip": {"kind": "evenly", "length": 4, "stride": 1},
    "augment": {**_AUGMENT, "erase": 0.2},
    "optimizer": {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05, "ema": 0.99},
    "schedule": {"name": "cosine", "final_factor": 0.01, "warmup_steps": 50},
    "total_steps": 600,
}
# Variety decides on real people, not size; OSNet-x0.25 learns half as fast from nothing as a narrow ResNet.
_WILD = {
    "batch_size": 256,
    "identities_per_batch": 64,
    "clip": {"kind": "random", "length": 1, "stride": 1},
    "augment": {
        "flip": 0.5,
        "pad_crop": 0.5,
        "padding": 0.06,
        "color_jitter": 0.8,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.4,
        "gamma": 0.3,
        "white_balance": 0.5,
        "low_resolution": 0.4,
        "low_resolution_scale": 0.25,
        "blur": 0.3,
        "noise": 0.3,
        "jpeg": 0.3,
        "erase": 0.45,
        "erase_most": 0.3,
        "paste": 0.25,
        "paste_cover": 0.4,
    },
    "losses": {"softmax": {"weight": 0.0}, "triplet": {"weight": 0.0}, "contrastive": {"weight": 1.0}},
    "optimizer": {
        "name": "adamw",
        "learning_rate": 2e-3,
        "weight_decay": 0.02,
        "no_decay": (".*/(bias|scale)",),
        "ema": 0.998,
    },
    "schedule": {"name": "cosine", "final_factor": 0.01, "warmup_steps": 100},
    "total_steps": 1400,
}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    wild = changes.get("data.name") == "walkers/wild"
    config = default("strong_baseline", dataset)
    backbone = changes.get("model.backbone", "resnet50")
    narrow = {"width": 24 if wild else 16, "stage_sizes": (1, 1, 1, 1)} if small and backbone == "resnet50" else {}
    config.model = {
        "name": "strong_baseline",
        "backbone": backbone,
        "backbone_fields": narrow,
        "pooling": "average",
        "attention_size": 64 if small else 256,
        "lstm_size": 128 if small else 512,
        "losses_behind": wild,
    }
    if small:
        config.data.height, config.data.width, config.data.num_threads = (128, 64, 8) if wild else (64, 32, 2)
    config.phase_order = ("clips",)
    losses = {"softmax": {"smoothing": 0.1}, "triplet": {"weight": 1.0, "margin": 0.3}}
    recipe = {"losses": losses, **(_WILD if wild else _SMALL if small else _FULL)}
    config.phases = {"clips": phase(sampler="identity", **recipe)}
    config.evaluation.metric = "cosine"
    config.evaluation.streams = {"clips": evaluation_stream("all", 4 if small else 8, {})}
    return finish(config, changes)
