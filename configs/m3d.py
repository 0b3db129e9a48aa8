"""Two-stream M3D (Li, Zhang, Huang: Multi-scale 3D Convolution Network for Video Based Person Re-Identification, 2019).

`mars`: the paper's recipe; Table 2 gives 74.06 mAP and 84.39 rank-1 for the two streams on MARS.
`walkers` (default) and `folder`: quarter width, one block a stage, 64x32, trained from nothing; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/m3d.py

The rows of the paper's tables (mAP and rank-1 on MARS), written behind the dataset. Those with `model.` are fields, too, as
in `--config.model.ral=s`, but for `model.temporal=flow`: like `streams` and `clip_length`, which are not fields, it chooses
phases, and a run in which it is a `--config.` field alone is refused. `streams` is what is trained, evaluated and
headlined: `both` (default; also scores each alone), `spatial` or `temporal`. A `temporal` run starts from the 2-D stream
of `init_from` (`init_patterns` is `spatial/.*`), as phase 2 of the paper does:

    m3d.py:mars                                        two streams, and its 2-D and M3D + RAL streams   74.06 / 84.39
    m3d.py:mars,streams=spatial                        2D CNN, 2D baseline                              62.54 / 76.43
    m3d.py:mars,streams=temporal                       M3D + RAL                                        71.76 / 82.79
      ... model.ral=s, =t, =c                          M3D + RAL(s), (t), (c)     71.04 / 82.19, 70.66 / 81.81, 71.30 / 82.13
      ... model.ral=                                   M3D                                              69.90 / 81.01
      ... model.temporal=i3d                           I3D                                              62.84 / 76.62
      ... model.temporal=p3d_a, =p3d_b, =p3d_c         P3D-A, -B, -C              60.69 / 75.08, 67.03 / 79.06, 67.06 / 79.08
      ... model.temporal=lstm                          LSTM (Table 3)                                   61.58 / 76.11
      ... clip_length=16                               any of these on 16 frames, in batches of 12      M3D: 66.23 / 80.13
      ... model.m3d_blocks=all                         an M3D layer in every bottleneck                 "no further improvement"
      ... model.temporal_scales=1, =2, ...             so many temporal kernels in a layer; 1 is P3D-C's
    m3d.py:mars,model.temporal=flow                    appearance and optical flow (Table 3)            63.39 / 77.11
"""

from ml_collections import ConfigDict, FieldReference

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase, pop_clip_length
from vreid_jax.errors import InputError

STREAMS = {"both": ("spatial", "temporal"), "spatial": ("spatial",), "temporal": ("temporal",)}
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
    if changes.get("model.temporal") == "flow" and "clip_length" in changes:
        raise InputError(
            f"clip_length is {changes['clip_length']}, which model.temporal=flow does not read, since a stack of ten fields "
            "stands for a clip: leave it out"
        )
    length = pop_clip_length(changes, 8)
    streams = changes.pop("streams", "both")
    if streams not in STREAMS:
        raise InputError(f"streams is {streams!r}; it is one of {', '.join(STREAMS)}")
    config.model = {
        "name": "two_stream_m3d",
        "width": 16 if small else 64,
        "stage_sizes": (1, 1, 1, 1) if small else (3, 4, 6, 3),
        "clip_length": length,
        "spatial_last_stride": 1,
        "temporal_last_stride": 2,
        "temporal": "m3d",
        "lstm_size": 128 if small else 512,  # of temporal = "lstm"
        "ral": "sct",
        "temporal_scales": FieldReference("paper", field_type=object),  # "log2", or a number
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
    config.phase_order = STREAMS[streams]
    if streams == "temporal":
        config.init_patterns = ("spatial/.*",)  # of a run with both, its M3D stream is another row
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
    lengths = {"spatial": 1, "temporal": length}
    if changes.get("model.temporal") == "flow":  # a stack of ten fields stands for a clip, and is learnt as a frame is
        config.phases.temporal = config.phases.spatial.copy_and_resolve_references()
        config.phases.temporal.update({"apply": {"stream": "temporal"}, "train": ("temporal/.*",)})
        lengths["temporal"] = 1
    config.evaluation.streams = {
        name: evaluation_stream("all", lengths[name], {"stream": name}) for name in STREAMS[streams]
    }
    return finish(config, changes)
