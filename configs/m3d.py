"""Two-stream M3D (Li, Zhang, Huang: Multi-scale 3D Convolution Network for Video Based Person Re-Identification, 2019).

`mars`: the paper's recipe; Table 2 gives 74.06 mAP and 84.39 rank-1 for the two streams on MARS.
`walkers` (default): a quarter-width network at 64x32 on synthetic pedestrians, minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/m3d.py
"""

from ml_collections import ConfigDict

from vreid_jax import config as fields

SMALL = ("walkers", "folder")  # trained from nothing, at a size for a laptop
HEAD_TIMES_TEN = ((".*/head/.*", 10.0),)


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = fields.parse_argument(argument)
    small = dataset in SMALL
    config = fields.default("m3d", dataset)
    length = changes.pop("clip_length", 8)
    config.model = {
        "name": "two_stream_m3d",
        "width": 16 if small else 64,
        "clip_length": length,
        "temporal": "m3d",
        "ral": "sct",
        "temporal_scales": "paper",
        "stem_m3d": True,
        "temporal_stride": True,
        "dropout": 0.5,
        "remat": False,
    }
    if small:
        config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    clip = {"kind": "consecutive", "length": length, "stride": 1}
    config.phase_order = ("spatial", "temporal")
    config.phases = {
        "spatial": fields.phase(
            sampler="frames",
            batch_size=64 if small else 128,
            clip={"kind": "random", "length": 1, "stride": 1},
            apply={"stream": "spatial"},
            train=("spatial/.*",),
            optimizer={"learning_rate": 0.02 if small else 1e-3},
            schedule={"name": "step", "boundaries": (0.8,) if small else (0.5,)},
            lr_multipliers=() if small else HEAD_TIMES_TEN,
            **({"total_steps": 300} if small else {"total_epochs": 20}),
        ),
        "temporal": fields.phase(
            batch_size=24 if length == 8 else 12,
            clip=clip,
            apply={"stream": "temporal"},
            train=("temporal/.*",),
            optimizer={"learning_rate": 0.02 if small else 1e-2},
            schedule={"name": "step", "boundaries": (0.75,)},
            lr_multipliers=() if small else HEAD_TIMES_TEN,
            **({"total_steps": 250} if small else {"total_epochs": 400}),
        ),
    }
    config.evaluation.streams = {
        "spatial": fields.evaluation_stream("all", 1, {"stream": "spatial"}),
        "temporal": fields.evaluation_stream("all", length, {"stream": "temporal"}),
    }
    return fields.finish(config, changes)
