"""The fields that every configuration, phase and evaluation stream has."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, FieldReference

from vreid_jax.config.datasets import DATASETS, SMALL
from vreid_jax.config.fields import nearest
from vreid_jax.errors import InputError


def default(system: str, dataset: str) -> ConfigDict:
    """Return the fields that every system has; phases, model and evaluation streams are added by the system."""
    if dataset not in DATASETS:
        base, variant, _ = dataset.partition("/")
        if variant and base in DATASETS:
            raise InputError(f"dataset {dataset!r} is written {base},data.name={dataset}")
        raise InputError(f"there is no dataset {dataset!r}{nearest(dataset, DATASETS, 'it is one of')}")
    return ConfigDict(
        {
            "system": system,
            "dataset": dataset,
            "split": FieldReference(0, field_type=object),  # of ilids_vid and prid2011: 0 to 9, or "all"
            "seed": 0,
            "init_from": "",  # a run's workdir or a file of weights (.safetensors, .pth), which this one starts from
            "init_patterns": (".*",),  # which of its parameters, e.g. "spatial/.*"
            "inflation": "mean",  # of its 2-D kernels in a 3-D network: mean or center
            "dtype": "auto",  # of the computation: float32, bfloat16, float16; auto: half precision where the device is made for it
            "data": {
                "name": DATASETS[dataset],
                "data_dir": "",  # empty: $TFDS_DATA_DIR, or ~/tensorflow_datasets
                "path": "",  # of the dataset `folder`
                "bad_frames": "error",  # or "skip": unreadable pictures of `folder` are left out and counted
                "height": 256,
                "width": 128,
                "num_threads": 8,  # that decode, in every process that reads
                "num_workers": 0,  # processes that read training batches; 0: this one alone, whose lock Python's threads share
                "feature_dir": "",  # where tables of clip features (`cache_features`) are kept for other runs; empty: not
                "flow": "dis",  # how optical flow is computed, for networks that read it; or farneback
                # Share of the training people, drawn by `seed`, who are left out and scored in place of the test split.
                "validation": 0.0,
                "mean": (),  # of RGB in [0, 1], and its deviation; empty: what the model was made for
                "std": (),
            },
            "model": {},
            "phase_order": (),
            "phases": {},
            "evaluation": {
                "streams": {},
                "batch_frames": 256,  # frames in one batch of the feature extraction
                "headline": "",  # the stream whose features are the system's; empty: those of all, concatenated
                "similarity": {},  # keyword arguments of a system's similarity of tracklets, which replaces the metric
                "shortlist": 0,  # that similarity for so many nearest by mean feature only; 0: for all
                "shortlist_exact": False,  # those are the most similar ones, found by bounds of the similarity
                "metric": "euclidean",  # sqeuclidean, cosine; or xqda, kissme: learned from the training split
                "rerank": False,  # also score after k-reciprocal re-ranking: `reranked` in results.json
                "protocols": (),  # empty: those of the dataset
                # Untrained, a network of full size is as slow to embed as the trained one: only where it is small.
                "baselines": ("untrained", "color_histogram") if dataset in SMALL else ("color_histogram",),
                # Also persons instead of tracklets, as PROBE/GALLERY of random, all: protocols tracklets_PROBE_GALLERY.
                "selections": (),
                # Another dataset whose query and gallery are scored, e.g. walkers/jitter; written to results-….json.
                "dataset": "",
                # The control that destroys dynamics and nothing else; written to results-shuffled.json.
                "shuffle_frames": False,
            },
            "logging": {"every_steps": 10, "tensorboard": True, "progress": True},
            # The newest `keep` are kept. 0: not by time, or not by steps; always at the end of a phase and before a stop.
            "checkpoint": {"every_minutes": 15.0, "every_steps": 0, "keep": 2},
        }
    )


def phase(**changes) -> ConfigDict:
    """Return a phase: what is sampled, what is minimised, how, and for how long. Unknown names are an error.

    Fields:
      sampler: `shuffle`, every tracklet once an epoch; `frames`, every tracklet as often as it has frames; or
        `identity`, `identities_per_batch` x K clips.
      clip: `kind`, `length`, `stride` and `short` of `data.sample_clip`; `num_clips` of them, of which up to `corrupt` are
        corrupted; how many and which is drawn anew each time.
      cache_features: for a system whose `prepare` makes a table of clip features: batches are rows of it instead of
        frames, which are then not augmented.
      augment: probabilities and strengths of `data.augment`, all off; `config.phases.Augmentation` lists them.
      apply: keyword arguments of the module in this phase, e.g. which stream.
      losses: terms by name, each with a weight (0 leaves it out).
      train: patterns of the parameters that learn, e.g. `spatial/.*`; the others stay as they are.
      lr_multipliers: pairs (pattern, factor); the first pattern that matches a parameter counts.
      optimizer: `sgd`, `adam`, `amsgrad`, `adamw` with decoupled weight decay, or `muon`, which takes orthogonal steps
        for kernels, with `momentum`, and those of `adam` for everything else and for classifiers. `no_decay` are patterns
        of parameters without weight decay, e.g. `.*/(bias|scale)`. With `clip_norm` above 0 a gradient that is longer, over
        all parameters that train, is shortened to it, before weight decay. With `ema` above 0 the weights are averaged over the
        steps with this decay, and evaluation, later phases and model files take the average: see `training.average`.
      schedule: `constant`, `step` (times `factor` at each of `boundaries`), `exponential` (from `start` on down to
        `final_factor`), or `cosine` and `linear` (from the end of the warm-up down to `final_factor`); positions are
        fractions of the phase, `warmup_steps` a number of steps.
      total_epochs, total_steps: the length; one of the two is 0.
      accumulation_steps: microbatches of a batch. Batch norm and hard mining see one microbatch, of whole identities.
    """
    from vreid_jax.config.phases import Augmentation  # imports JAX, which a command sets up first
    from vreid_jax.losses.terms import default_fields

    fields = ConfigDict(
        {
            "sampler": "shuffle",
            "batch_size": 32,
            "identities_per_batch": 8,
            "clip": {"kind": "consecutive", "length": 8, "stride": 1, "num_clips": 1, "corrupt": 0, "short": "stride"},
            "cache_features": False,
            "augment": {field.name: field.default for field in dataclasses.fields(Augmentation)},
            "apply": {},
            "losses": default_fields(),
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.01,
                "momentum": 0.9,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 5e-4,
                "no_decay": (),
                "clip_norm": 0.0,
                "ema": 0.0,
            },
            "schedule": {
                "name": "constant",
                "boundaries": (),
                "factor": 0.1,
                "start": 0.5,
                "final_factor": 0.001,
                "warmup_steps": 0,
            },
            "train": (".*",),
            "lr_multipliers": (),
            "total_epochs": 0,
            "total_steps": 0,
            "accumulation_steps": 1,
        }
    )
    apply = changes.pop("apply", {})
    fields.lock()
    fields.update(changes)
    with fields.unlocked():
        fields.apply = ConfigDict(apply)
    return fields


def evaluation_stream(
    kind: str, length: int, apply: dict[str, Any], num_clips: int = 8, stride: int = 1, average: bool = True
) -> ConfigDict:
    """Return an evaluation stream: the clips of a tracklet at test and the module's keyword arguments for them.

    With `average` False the features of the `num_clips` clips are kept apart, for a system with a `similarity`. Up to
    `clip.corrupt` clips of a tracklet are corrupted, how many and which drawn from the run's seed and its name.
    """
    clip = {"kind": kind, "length": length, "num_clips": num_clips, "stride": stride, "corrupt": 0}
    return ConfigDict({"clip": clip, "apply": apply, "average": average})
