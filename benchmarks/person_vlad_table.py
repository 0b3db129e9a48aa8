"""Reproduce the tables of the PersonVLAD paper on walkers, and study what its layers are worth.

    python benchmarks/person_vlad_table.py --out=runs/person-vlad-table --seeds=0,1,2 [--tables=study,2,3,4,5,6,8,9]
    python benchmarks/person_vlad_table.py --out=runs/person-vlad-table --show

Every row is a configuration, trained and tested on each of `--datasets`; for each dataset and seed one C3D is trained,
and the rows start from it. Runs are named by the content of their configuration: what several tables share is trained
once, finished runs are read, if they are of the configuration that is asked for, and others continued, and what a change
of the defaults does not touch stays. `study` stands for alpha, kmeans, clips, parts, pooling, descriptors, steps and
curves. After each run `table.md` is written, with all that is there by then of these tables, datasets and seeds: ranks 1,
5, 10 and 20 and mAP of `tracklets_random_all`, the paper's headline (a random tracklet as probe, the mean of a person's
tracklets as gallery entry), means over seeds, ± standard deviation; beside them the paper's ranks on MARS. `--show`
prints it and runs nothing.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from person_vlad_rows import HEADLINE, PIECES, ROWS, STEPS, STUDY, SUBSAMPLES, TABLES, Row
from walkers_runs import check, check_run, configuration, keep, some_of, stored, whole_numbers

from vreid_jax import models
from vreid_jax.config import default, field_names, phase, set_field
from vreid_jax.experiment import train_and_evaluate
from vreid_jax.runtime import setup_process
from vreid_jax.runtime.exit_codes import exit_codes
from vreid_jax.settings import plain
from vreid_jax.training.metrics import read_metrics

RANKS = ("rank1", "rank5", "rank10", "rank20")
NOT_TRAINING = ("seed", "split", "init_from", "evaluation", "logging", "checkpoint")  # what a run's name leaves out
CONTROLLED = ("evaluation.metric", "evaluation.dataset")  # what controls of a run set
OF_VLAD = ("num_clusters", "alpha", "assignment", "kmeans_before", "kmeans_batches")
OF_BACKBONE = ("name", "width", "fully_connected", "clip_length", "classifiers", "classifier_norm")


class Runs:
    """The runs of one folder: where each is, what it found, and training those that are not there yet."""

    def __init__(self, out: Path, steps: int = 0, backbone_steps: int = 0):
        """Look into `out`; `steps` of the joint phase (half as many of the parts) and of the backbone, 0 as configured."""
        self.out = out
        lengths = {"joint": steps, "parts": -(-steps // 2), "backbone": backbone_steps}
        self._lengths = {f"phases.{phase}.total_steps": value for phase, value in lengths.items() if value}
        self._found: dict[Path, dict] = {}  # what was read, and fits

    def configuration(self, row: Row, dataset: str, changes: tuple = ()):
        """Return the configuration of a row, but for the seed and where it starts."""
        own = {"data.name": row.dataset or dataset, "logging.tensorboard": False, **self._lengths}
        if row.start:
            own["phase_order"] = ("parts", "joint")
        return configuration("person_vlad", {**own, **row.changes, **dict(changes)}, row.argument)

    @functools.cache  # noqa: B019  (lives as long as the process)
    def name(self, key: str, dataset: str, changes: tuple = ()) -> str:
        """Return the name of a row's run: the dataset, and a digest of all that training depends on but the seed."""
        row, config = ROWS[key], self.configuration(ROWS[key], dataset, changes)
        left_out = _patterns((*NOT_TRAINING, *not_used(config)))
        content = {
            name: plain(value)
            for name, value in unusual(config).items()
            if not any(re.fullmatch(each, name) for each in left_out)
        }
        content["start"] = self.name(row.start, dataset) if row.start else ""
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
        return f"{(row.dataset or dataset).replace('/', '-')}-{digest}"

    def result(
        self, key: str, dataset: str, seed: int, control: str = "", changes: tuple = (), read: bool = False
    ) -> dict | None:
        """Return what a row's run found, training it, and before it what it starts from, or only if it is there.

        Raises:
          InputError: when what was found before, or trained so far, is of another configuration.
        """
        row, name = ROWS[key], f"{self.name(key, dataset, _without_length(changes))}-seed{seed}"
        suffix = {"": "", "transfer": f"-on-{dataset.replace('/', '-')}"}.get(control, f"-{control}")
        suffix += "".join(f"-{value}" for field, value in changes if field == _LENGTH)
        kept = self.out / f"{name}{suffix}.json"
        if kept in self._found or (read and not kept.exists()):
            return self._found.get(kept)
        config = self.configuration(row, dataset, changes)
        fields = {"xqda": {"evaluation.metric": "xqda"}, "transfer": {"evaluation.dataset": dataset}}.get(control, {})
        if row.start:
            fields["init_from"] = str(self.out / f"{self.name(row.start, dataset)}-seed{seed}")
            fields["init_patterns"] = (".*",) if row.start == "other" else ("backbone/.*",)
        for field, value in {"seed": seed, **fields}.items():
            set_field(config, field, value)
        # A curve is one run, whose length grows.
        free = (*_patterns(not_used(config)), *(re.escape(field) for field, _ in changes if field == _LENGTH))
        there = kept.exists()
        if row.start:
            self.result(row.start, dataset, seed, read=there)
        if control:
            self.result(key, dataset, seed, read=there)
        if not there:
            check_run(self.out / name, config, free)
            print(f"\n{time.strftime('%H:%M:%S')} {key} {control} on {dataset}, seed {seed}: {name}", flush=True)
            started = time.perf_counter()
            found = train_and_evaluate(config, self.out / name, "evaluate" if control else "train_and_evaluate")
            assert found is not None  # it is scored
            keep(kept, found, config)
            print(f"{key}: {time.perf_counter() - started:.0f} s", flush=True)
        self._found[kept] = self._read(kept, name, config, free)
        return self._found[kept]

    def _read(self, kept: Path, name: str, config: ConfigDict, free: tuple[str, ...]) -> dict:
        """Return what was kept; `InputError` where it is of another configuration, but for the fields `free`."""
        content = json.loads(kept.read_text())
        found_by = content.get("config")
        if not found_by:  # that of the run has its last length, and how it was scored last
            found_by, free = stored(self.out / name), (*free, *_patterns(CONTROLLED))
        if found_by:  # fields that the library has got since then, and that are as it has them
            usual = field_names(config).keys() - unusual(config).keys()
            free = (*free, *map(re.escape, usual - field_names(ConfigDict(found_by)).keys()))
        check(kept, found_by, config, free)
        return content

    def cells(self, key: str, dataset: str, seed: int) -> dict[str, float] | None:
        """Return what k-means reported of the cells of a row's run."""
        lines = read_metrics(self.out / f"{self.name(key, dataset)}-seed{seed}" / "metrics.jsonl")
        return next((line for line in reversed(lines) if "cells_used" in line), None)

    def curve(self, dataset: str, seed: int, subsample: int, read: bool = False) -> list[tuple[int, float]]:
        """Return pairs (steps of the joint phase, mAP in percent) of one sub-sampling.

        The rate of the joint phase is constant here, so that a longer run continues a shorter one.
        """
        points = []
        for piece in range(1, PIECES + 1):
            steps = (self._lengths.get(_LENGTH) or STEPS) * piece // PIECES
            changes = (
                ("phases.joint.schedule.name", "constant"),
                *((f"phases.{phase}.losses.oim.subsample", subsample) for phase in ("parts", "joint")),
                (_LENGTH, steps),
            )
            if found := self.result("default", dataset, seed, changes=changes, read=read):
                points.append((steps, 100 * found["protocols"][HEADLINE]["mAP"]))
        return points


_LENGTH = "phases.joint.total_steps"


def not_used(config: ConfigDict) -> list[str]:
    """Return the phases and fields of the model, by dotted name, that a configuration has but does not use."""
    unused = [phase for phase in config.phases if phase not in config.phase_order]
    fields = []
    if "parts" in unused and "joint" in unused:
        fields = [field for field in config.model if field not in OF_BACKBONE]
    elif config.model.aggregation != "vlad" or config.model.parts == "global":
        fields = [field for field in OF_VLAD]
    return [*(f"phases.{phase}" for phase in unused), *(f"model.{field}" for field in fields)]


def _patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Return patterns of fields by these dotted names, and of all fields below them."""
    return tuple(rf"{re.escape(name)}(\..*)?" for name in names)


def unusual(config: ConfigDict) -> dict[str, Any]:
    """Return the fields of a configuration, by dotted name, that are not as the library has them.

    A field that a later version adds changes none of them, so it renames no run.
    """
    usual = field_names(default("person_vlad", "walkers"))
    for name in config.phases:
        usual |= {f"phases.{name}.{field}": value for field, value in field_names(phase()).items()}
    module = models.entry(config.model.name).module
    usual |= {f"model.{field.name}": field.default for field in dataclasses.fields(module)}
    missing = object()
    return {
        name: value for name, value in field_names(config).items() if plain(usual.get(name, missing)) != plain(value)
    }


def _without_length(changes: tuple) -> tuple:
    """Return the changes without the length of the joint phase, which a run may grow by."""
    return tuple(change for change in changes if change[0] != _LENGTH)


def mean(values: list[float]) -> str:
    """Return the mean, of several values with their standard deviation."""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def scores(results: list[dict], protocol: str) -> str:
    """Return ranks 1, 5, 10 and 20 and mAP of runs of several seeds, in percent."""
    if not results:
        return "—"
    found = [result["protocols"][protocol] for result in results]
    first, *others = (100 * np.array([each[rank] for each in found]) for rank in RANKS)
    ranks = " / ".join([mean(list(first)), *(f"{values.mean():.1f}" for values in others)])
    return f"{ranks}, {mean([100 * each['mAP'] for each in found])} ({len(found)})"


def markdown(runs: Runs, names: list[str], datasets: list[str], seeds: list[int]) -> str:
    """Return the tables of these names with all that was found so far."""
    parts = []
    for name in names:
        if name == "curves":
            parts += [curves(runs, datasets, seeds)]
            continue
        heading, lines = TABLES[name]
        paper = any(line.paper for line in lines)
        head = ["row", *(["paper"] if paper else []), *datasets, *(["cells"] if name in STUDY else [])]
        text = [f"### {heading}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for line in lines:
            found = [
                [runs.result(line.row, dataset, seed, line.control, read=True) for seed in seeds]
                for dataset in datasets
            ]
            cells = [scores([each for each in column if each], line.protocol) for column in found]
            if name in STUDY:
                stored = [runs.cells(line.row, dataset, seed) for dataset in datasets for seed in seeds]
                cells.append(held([each for each in stored if each]))
            text.append(f"| {' | '.join([line.title, *([line.paper] if paper else []), *cells])} |")
        parts.append("\n".join(text) + "\n")
    return "\n".join(parts)


def held(stored: list[dict]) -> str:
    """Return what cells hold: the share in use, a clip's descriptors in one, and pairs of one person and of two in one."""
    if not stored:
        return ""
    names = ("cells_used", "descriptors_per_cell", "same_person_same_cell", "others_same_cell")
    used, number, same, others = (np.mean([each[name] for each in stored]) for name in names)
    return f"{used:.2f}, {number:.2f}, {same:.3f} / {others:.3f}"


def means(runs: Runs, dataset: str, seeds: list[int], subsample: int) -> dict[int, list[float]]:
    """Return the mAP of the seeds of one sub-sampling, by the steps of the joint phase."""
    found: dict[int, list[float]] = {}
    for seed in seeds:
        for steps, value in runs.curve(dataset, seed, subsample, read=True):
            found.setdefault(steps, []).append(value)
    return found


def curves(runs: Runs, datasets: list[str], seeds: list[int]) -> str:
    """Return the sub-sampling curves (Fig. 10) as text: mAP after so many steps."""
    text = ["### Study and Figure 10: sub-sampling of OIM", ""]
    for dataset in datasets:
        for number, name in SUBSAMPLES.items():
            points = ", ".join(f"{s}: {mean(v)}" for s, v in sorted(means(runs, dataset, seeds, number).items()))
            text.append(f"* {dataset}, sub-sampling {name}, mAP after steps {points or '—'}")
    return "\n".join(text) + "\n"


def plot(runs: Runs, datasets: list[str], seeds: list[int]) -> None:
    """Draw them into `subsampling.png`, if matplotlib is there (the extra `viz`)."""
    try:
        import matplotlib
    except ImportError:
        print("subsampling.png is not drawn: it needs matplotlib, pip install 'vreid_jax[viz]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(datasets), figsize=(5 * len(datasets), 3.5), squeeze=False)
    for dataset, axis in zip(datasets, axes[0], strict=True):
        for number, name in SUBSAMPLES.items():
            points = sorted(means(runs, dataset, seeds, number).items())
            axis.plot([s for s, _ in points], [np.mean(v) for _, v in points], marker="o", label=f"sub-sampling {name}")
        axis.set(title=dataset, xlabel="iterations of the joint phase", ylabel="mAP (%)")
        axis.legend()
    figure.tight_layout()
    figure.savefig(runs.out / "subsampling.png", dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Run the rows of the requested tables, seed by seed, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/person-vlad-table"))
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    known = ("study", *TABLES, "curves")
    parser.add_argument(
        "--tables", type=some_of("table", known), default="study,2,3,4,5,6,8,9", help=f"of {', '.join(known)}"
    )
    parser.add_argument(
        "--datasets", default="walkers/jitter,walkers/small", help="that rows are trained and tested on"
    )
    parser.add_argument("--steps", type=int, default=0, help="of the joint phase, the parts' is half; 0: as configured")
    parser.add_argument("--backbone-steps", type=int, default=0, help="likewise of the backbone")
    parser.add_argument("--show", action="store_true", help="print what was found so far, and run nothing")
    arguments = parser.parse_args()
    setup_process()
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = Runs(arguments.out, arguments.steps, arguments.backbone_steps)
    names = [each for name in arguments.tables for each in (STUDY if name == "study" else (name,))]
    seeds, datasets = arguments.seeds, arguments.datasets.split(",")
    show = functools.partial(markdown, runs, names, datasets, seeds)
    for seed, dataset, name in ((s, d, n) for s in seeds for d in datasets for n in names if not arguments.show):
        if name == "curves":
            for number in SUBSAMPLES:
                runs.curve(dataset, seed, number)
                (arguments.out / "table.md").write_text(show())
            continue
        for line in TABLES[name][1]:
            runs.result(line.row, dataset, seed, line.control)
            (arguments.out / "table.md").write_text(show())
    if "curves" in names:
        plot(runs, datasets, seeds)
    print("\n" + show())


if __name__ == "__main__":
    with exit_codes("person_vlad_table"):
        main()
