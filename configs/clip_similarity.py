"""Learned clip-similarity aggregation (Matiyali and Sharma, 2020): which pairs of clips tell whether two persons are one.

`mars`: the paper's recipe; Table 3 gives 75.9 mAP and 82.7 rank-1 on MARS (re-ranked 83.3 and 83.4, `evaluation.rerank`).
`walkers` (default) and `folder`: quarter width, 64x32, trained from nothing; minutes on two CPU cores:

    python3 -m vreid_jax.main --config=configs/clip_similarity.py

Phase `features` trains I3D, phase `similarity` the aggregation on a table of clip features. Baselines and corruption:

    evaluation.similarity.kind         learned | top_t | average, at test; top-t % with evaluation.similarity.t,
                                       the average with or without evaluation.similarity.normalize
    phases.similarity.apply.kind       learned | top_t, in training, there with phases.similarity.apply.t; top_t at test
                                       needs it: topt-e of Table 2 is trained with t = 100, topt-te with that of the test
    evaluation.streams.clips.clip      num_clips (M), length (L), corrupt (M_max); kind, with average=False only evenly:
                                       with evaluation.streams.clips.average=True also single_consecutive,
                                       single_random, single_evenly and single_all, the four of Table 1
    phases.similarity.clip.corrupt     M_max in training
"""

from ml_collections import ConfigDict

from vreid_jax.config import SMALL, default, evaluation_stream, finish, parse_argument, phase, pop_clip_length

_PAPER_FEATURES = {
    "optimizer": {"name": "amsgrad", "learning_rate": 3e-4},
    "schedule": {"name": "step", "boundaries": (1 / 3, 2 / 3)},
    "total_epochs": 1200,
}
_PAPER_SIMILARITY = {
    "batch_size": 48,
    "identities_per_batch": 12,
    "optimizer": {"name": "amsgrad", "learning_rate": 3e-5},
    "schedule": {"name": "step", "boundaries": (2 / 3,)},
    "total_epochs": 12,
}
_SMALL_FEATURES = {
    "optimizer": {"name": "amsgrad", "learning_rate": 3e-3},
    "schedule": {"name": "step", "boundaries": (0.7, 0.9)},
    "total_steps": 1000,
}
_SMALL_SIMILARITY = {
    "batch_size": 32,
    "identities_per_batch": 8,
    "optimizer": {"name": "amsgrad", "learning_rate": 3e-4},
    "schedule": {"name": "step", "boundaries": (2 / 3,)},
    "total_steps": 200,
}


def get_config(argument: str | None = None) -> ConfigDict:
    dataset, changes = parse_argument(argument)
    small = dataset in SMALL
    config = default("clip_similarity", dataset)
    length = pop_clip_length(changes, 4)
    config.model = {
        "name": "clip_similarity",
        "backbone": "i3d_inception_v1",
        "width": 16 if small else 64,
        "clip_length": length,
        "hidden": (128, 128) if small else (1024, 1024),
        "dropout": 0.5,
    }
    if small:
        config.data.height, config.data.width, config.data.num_threads = 64, 32, 2
    config.phase_order = ("features", "similarity")
    config.phases = {
        "features": phase(
            sampler="identity",
            batch_size=32,
            identities_per_batch=8,
            clip={"kind": "consecutive", "length": length},
            augment={"flip": 0.5, "enlarge_crop": 1.0},
            apply={"stage": "features"},
            # The paper's sum over anchors is reduction = "sum". From nothing a triplet of weight 1 keeps all features alike.
            losses={
                "softmax": {"weight": 1.0},
                "triplet": {"weight": 0.1 if small else 1.0, "margin": 0.3, "reduction": "mean"},
            },
            train=("(features|classifier)/.*",),
            **(_SMALL_FEATURES if small else _PAPER_FEATURES),
        ),
        "similarity": phase(
            sampler="identity",
            clip={"kind": "spread", "length": length, "num_clips": 8},
            augment={"flip": 0.5, "enlarge_crop": 1.0},  # without cache_features only
            cache_features=True,
            apply={"stage": "similarity", "kind": "learned", "t": 100},
            losses={"softmax": {"weight": 0.0}, "clip_triplet": {"weight": 1.0, "margin": 1.0}},
            train=("(aggregation|projection)/.*",),
            **(_SMALL_SIMILARITY if small else _PAPER_SIMILARITY),
        ),
    }
    config.evaluation.streams = {
        "clips": evaluation_stream("evenly", length, {"stage": "features"}, num_clips=8, average=False)
    }
    config.evaluation.similarity = {"kind": "learned", "t": 100, "normalize": True}
    return finish(config, changes)
