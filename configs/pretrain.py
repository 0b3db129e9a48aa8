"""A small model for real people, trained on drawn ones: a narrow ResNet on frames of `walkers/wild`.

Nothing but a supervised contrastive loss (τ = 0.1) behind a batch norm neck: four frames of each of 64 people in a batch,
every frame with a background, a camera and an accident of its own. What decides is variety, not size, so augmentation is
strong. OSNet-x0.25 learns half as fast from nothing. The model that comes with the library is seed 0 of this:

    python3 -m vreid_jax.main --config=configs/pretrain.py --workdir=runs/pretrain

It resumes where it was stopped. `benchmarks/pretrain.sh` trains three seeds of it and measures them on a real video.
"""

from ml_collections import ConfigDict

from vreid_jax.config import default, evaluation_stream, finish, parse_argument, phase

_AUGMENT = {
    "flip": 0.5,
    "pad_crop": 0.5,
    "padding": 0.06,
    "color_jitter": 0.8,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.4,
    "hue": 0.02,
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
}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    config = default("strong_baseline", dataset)
    config.data.update(height=128, width=64)
    if dataset == "walkers":
        config.data.name = "walkers/wild"
    people = 64 if dataset == "walkers" else 8
    backbone = changes.get("model.backbone", "resnet50")
    config.model = {
        "name": "strong_baseline",
        "backbone": backbone,
        "backbone_fields": {"width": 24, "stage_sizes": (1, 1, 1, 1)} if backbone == "resnet50" else {},
        "pooling": "average",
        "losses_behind": True,
    }
    config.phase_order = ("frames",)
    config.phases = {
        "frames": phase(
            sampler="identity",
            batch_size=4 * people,
            identities_per_batch=people,
            clip={"kind": "random", "length": 1, "stride": 1},
            augment=_AUGMENT,
            losses={"softmax": {"weight": 0.0}, "triplet": {"weight": 0.0}, "contrastive": {"weight": 1.0}},
            optimizer={
                "name": "adamw",
                "learning_rate": 2e-3,
                "weight_decay": 0.02,
                "no_decay": (".*/(bias|scale)",),
                "ema": 0.998,
            },
            schedule={"name": "cosine", "final_factor": 0.01, "warmup_steps": 200},
            total_steps=4000,
        )
    }
    config.evaluation.metric = "cosine"
    config.evaluation.streams = {"frames": evaluation_stream("all", 8, {})}
    config.checkpoint.every_steps = 500
    return finish(config, changes)
