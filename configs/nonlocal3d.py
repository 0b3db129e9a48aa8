"""3-D ResNet-50 with non-local attention.

Liao, He and Yang: Video-based Person Re-identification via 3D Convolutional Networks and Non-local Attention, ACCV 2018.

`mars`: the paper's recipe. Table 2 gives 84.3 rank-1 and 77.0 mAP on MARS from Kinetics weights, Table 3 78.4 and 69.8
from ImageNet weights, which are what the default network can start from:

    python3 -m vreid_jax.main --config=configs/nonlocal3d.py:mars --config.init_from=resnet50.pth

Its comparisons, each a field or a file:

    --config.model.network=average        the baseline: ResNet-50 on frames (77.9 / 69.0); also attention, rnn (Fig. 1)
    --config.model.non_local=False        without blocks (80.0 / 72.6 from Kinetics)
    --config.model.network=inflated       3x3x3 kernels, ResNet3D-50
    --config.init_from=runs/reid          re-ID weights (79.9 / 71.3): the workdir of network=average, inflated
    --config.init_from=resnet-50-kinetics.pth --config.model.network=inflated
        --config.model.temporal_shortcut=subsample --config.model.temporal_pool=True
        --config.data.mean='(0.4501,0.4225,0.3901)' --config.data.std='(0.00392,0.00392,0.00392)'     (84.3 / 77.0)

`ilids_vid` and `prid2011` are fine-tuned from the MARS run (81.3 and 91.2 rank-1), all ten splits:

    python3 -m vreid_jax.main --config=configs/nonlocal3d.py:ilids_vid,split=all --config.init_from=runs/nonlocal3d-mars
    python3 -m vreid_jax.main --config=configs/nonlocal3d.py:prid2011,split=all --config.init_from=runs/nonlocal3d-mars

`walkers` (default) and `folder`: quarter width, one block a stage, 64x32, trained from nothing; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/nonlocal3d.py
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase

_PAPER = {
    "batch_size": 128,
    "identities_per_batch": 32,
    "optimizer": {"name": "adam", "learning_rate": 3e-4, "weight_decay": 5e-4},
    "total_epochs": 300,
}
_SMALL = {
    "batch_size": 32,
    "identities_per_batch": 8,
    "optimizer": {"name": "adam", "learning_rate": 1e-3, "weight_decay": 5e-4},
    "total_steps": 800,
}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    config = default("nonlocal3d", dataset)
    config.model = {
        "name": "nonlocal3d",
        "network": "separable",
        "non_local": True,
        "non_local_after": {"res3": (0,), "res4": (0,)} if small else {"res3": (1, 3), "res4": (1, 3, 5)},
        "non_local_scale": 1.0,
        "non_local_subsample": False,
        "width": 16 if small else 64,
        "stage_sizes": (1, 1, 1, 1) if small else (3, 4, 6, 3),
        "last_stride": 2,  # for every network, so that they differ in what is compared
        "stem_length": 3 if small else 0,
        "temporal_strides": (),
        "temporal_shortcut": "mean",
        "temporal_pool": False,
        "feature_size": 128 if small else 512,
        "dropout": 0.5,
        "remat": not small,  # 128 clips of 8x256x128 at once
    }
    if small:
        config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    config.phase_order = ("clips",)
    config.phases = {
        "clips": phase(
            sampler="identity",
            # Walks of walkers have 8 to 48 frames, 18 in the median: at a stride of 2 most are longer than a clip. Shorter
            # ones take adjacent frames (`clip.short`).
            clip={"kind": "strided", "length": 8, "stride": 2 if small else 8},
            augment={"flip": 0.0, "enlarge_crop": 0.5},
            losses={"softmax": {"smoothing": 0.1}, "triplet": {"weight": 1.0, "margin": 0.3}},
            schedule={"name": "exponential", "start": 0.5, "final_factor": 0.001},
            **(_SMALL if small else _PAPER),
        )
    }
    # At test consecutive frames, as the paper says. On walkers every second one, as in training, but also in walks of fewer
    # than 16 frames, which wrap around; docs/nonlocal3d.md says what that changes.
    config.evaluation.streams = {"clips": evaluation_stream("all", 8, {}, stride=2 if small else 1)}
    return finish(config, changes)
