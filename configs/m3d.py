"""Two-stream M3D (Li, Zhang, Huang: Multi-scale 3D Convolution Network for Video Based Person Re-Identification, 2019).

`mars`: the paper's recipe; Table 2 gives 74.06 mAP and 84.39 rank-1 for the two streams on MARS.
`walkers` (default) and `folder`: quarter width, one block a stage, 64x32, trained from nothing; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/m3d.py

The paper's row "appearance and optical flow" is `model.temporal=flow` behind the dataset, as in `m3d.py:mars,model.temporal=flow`
(63.39 mAP and 77.11 rank-1 on MARS).
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase, pop_clip_length

HEAD_TIMES_TEN = ((".*/head/.*", 10.0),)

_PAPER_SPATIAL = {
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"name": "step", "boundaries": (0.5,)},
    "lr_multipliers": HEAD_TIMES_TEN,
    "total_epochs": 20,
}
_PAPER_TEMPORAL = {
    "optimizer": {"learning_rate": 1e-2},
    "schedule": {"name": "step", "boundaries": (0.75,)},
    "lr_multipliers": HEAD_TIMES_TEN,
    "total_epochs": 400,
}
_JITTER = {"flip": 0.5, "enlarge_crop": 0.5}  # few identities: without it they are learnt by heart
_SMALL_SPATIAL = {
    "augment": _JITTER,
    "optimizer": {"learning_rate": 0.1},
    "schedule": {"name": "step", "boundaries": (0.6, 0.85)},
    "total_steps": 400,
}
_SMALL_TEMPORAL = {
    "augment": _JITTER,
    "optimizer": {"name": "muon", "learning_rate": 3e-3, "momentum": 0.95, "weight_decay": 0.0},
    "schedule": {"name": "linear", "warmup_steps": 20},
    "total_steps": 1000,
}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    config = default("m3d", dataset)
    length = pop_clip_length(changes, 8)
    config.model = {
        "name": "two_stream_m3d",
        "width": 16 if small else 64,
        "stage_sizes": (1, 1, 1, 1) if small else (3, 4, 6, 3),
        "clip_length": length,
        "temporal": "m3d",
        "lstm_size": 128 if small else 512,  # of temporal = "lstm"
        "ral": "sct",
        "temporal_scales": "paper",
        "stem_m3d": True,
        "temporal_stride": True,
        "m3d_init": "zero_sum" if small else "random",
        "m3d_blocks": "first",
        "temporal_downsample": 2 if small else 1,
        "m3d_scale": 1.0
        if small
        else 0.0,  # the paper's network starts as the 2-D one; dynamics are found sooner if not
        "dropout": 0.0 if small else 0.5,
        "remat": False,
    }
    if dataset == "walkers":
        config.data.name = "walkers/demo"
    if small:
        config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    clip = {"kind": "consecutive", "length": length, "stride": 1}
    config.phase_order = ("spatial", "temporal")
    config.phases = {
        "spatial": phase(
            sampler="frames",
            batch_size=64 if small else 128,
            clip={"kind": "random", "length": 1, "stride": 1},
            apply={"stream": "spatial"},
            train=("spatial/.*",),
            **(_SMALL_SPATIAL if small else _PAPER_SPATIAL),
        ),
        "temporal": phase(
            # Walkers have enough tracklets for twice the paper's batch, and learn better from it.
            batch_size=(48 if dataset == "walkers" else 24) * 8 // max(length, 8),
            clip=clip,
            apply={"stream": "temporal"},
            train=("temporal/.*",),
            **(_SMALL_TEMPORAL if small else _PAPER_TEMPORAL),
        ),
    }
    config.evaluation.streams = {
        "spatial": evaluation_stream("all", 1, {"stream": "spatial"}),
        "temporal": evaluation_stream("all", length, {"stream": "temporal"}),
    }
    if changes.get("model.temporal") == "flow":  # a stack of ten fields stands for a clip, and is learnt as a frame is
        config.phases.temporal = config.phases.spatial.copy_and_resolve_references()
        config.phases.temporal.update({"apply": {"stream": "temporal"}, "train": ("temporal/.*",)})
        config.evaluation.streams.temporal = evaluation_stream("all", 1, {"stream": "temporal"})
    return finish(config, changes)
