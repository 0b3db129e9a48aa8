"""Resumable runs of a configuration and tables of means over seeds, shared by the benchmarks on walkers."""

import argparse
import hashlib
import json
import re
import runpy
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from vreid_jax.config import set_field
from vreid_jax.config.fields import field_names
from vreid_jax.config.files import read_config
from vreid_jax.errors import InputError
from vreid_jax.experiment import train_and_evaluate
from vreid_jax.experiment.results import Results
from vreid_jax.experiment.workdir import INCIDENTAL_FIELDS, differences
from vreid_jax.files import atomic_file
from vreid_jax.settings import plain

CONFIGS = Path(__file__).parent.parent / "configs"

CONTROLS = {  # evaluations of a trained run: name -> fields
    "shuffled": {"evaluation.shuffle_frames": True},
    "jitter": {"evaluation.dataset": "walkers/jitter"},
}


def configuration(system: str, changes: dict, argument: str = "walkers"):
    """`configs/<system>.py` for walkers, with this argument and these fields, in float32 on every device, no baselines."""
    config = runpy.run_path(str(CONFIGS / f"{system}.py"))["get_config"](argument)
    for field, value in {"dtype": "float32", "evaluation.baselines": (), **changes}.items():
        set_field(config, field, value)
    return config


def run(
    system: str, name: str, seed: int, out: Path, changes: dict, control: str = "", argument: str = "walkers"
) -> dict:
    """Train and evaluate a configuration of `configs/<system>.py`, or read what an earlier start found.

    `changes` are fields by dotted name; `control` evaluates the trained run under one of `CONTROLS`.

    Raises:
      InputError: when what was found before, or trained so far, is of another configuration. It is in the file with the
        results; for files without it, the run's is taken, and where the run is not there either, the file is trusted.
    """
    workdir = out / f"{name}-seed{seed}"
    kept = out / f"{name}-seed{seed}{f'-{control}' if control else ''}.json"
    config = configuration(system, {"seed": seed, **changes, **CONTROLS.get(control, {})}, argument)
    if not kept.exists():
        check_run(workdir, config)
        print(f"\n{time.strftime('%H:%M:%S')} {workdir}{f', {control}' if control else ''}", flush=True)
        found = train_and_evaluate(config, workdir, "evaluate" if control else "train_and_evaluate")
        assert found is not None  # it is scored
        keep(kept, found, config)
    content = json.loads(kept.read_text())
    check(kept, content.get("config") or stored(workdir), config, map(re.escape, CONTROLS.get(control, {})))
    return content


def keep(kept: Path, found: Results, config) -> None:
    """Write what a configuration has found into one file, and the configuration with it."""
    with atomic_file(kept) as half:
        half.write_text(json.dumps({**found.content(), "config": json.loads(config.to_json())}, indent=1) + "\n")


def check_run(workdir: Path, config, free: Iterable[str] = ()) -> None:
    """Raise `InputError` where a run has been trained, or begun, with another configuration than this; `free` as below."""
    check(workdir, stored(workdir), config, (*free, r"evaluation\..*"))


def stored(workdir: Path) -> dict | None:
    """Return the configuration of a run, None where there is none."""
    return read_config(workdir).to_dict() if (workdir / "config.json").exists() else None


def check(path: Path, found_by: dict | None, config, free: Iterable[str] = ()) -> None:
    """Raise `InputError` where what lies at `path` was found by another configuration than `config`.

    Fields may differ whose dotted names match one of the patterns `free`, and those that change no results.
    """
    if found_by and (different := changed(found_by, config, free)):
        again = all(each.startswith("evaluation.") for each in different)
        raise InputError(
            f"{path} is of another configuration: {'; '.join(different)}. Use another folder, or "
            + ("remove the file, to score the run again" if again else "remove this run and all that started from it")
        )


def changed(found_by: dict, config, free: Iterable[str] = ()) -> list[str]:
    """Return in words where a stored configuration differs from `config`; which fields may is as for `check`."""
    asked = json.loads(config.to_json())
    return differences(_movable(found_by), _movable(asked), (*INCIDENTAL_FIELDS, *free))


def digest(config, *about: str) -> str:
    """Return 16 hexadecimal digits of all fields that change results, and of `about`."""
    fields = field_names(ConfigDict(_movable(json.loads(config.to_json()))))
    kept = [
        (name, fields[name]) for name in sorted(fields) if not any(re.fullmatch(f, name) for f in INCIDENTAL_FIELDS)
    ]
    return hashlib.sha256(repr((kept, about)).encode()).hexdigest()[:16]


def _movable(config: dict) -> dict:
    """Return a configuration with the name of the run that it starts from, in whatever folder that lies."""
    return plain({**config, "init_from": Path(config.get("init_from", "")).name})


def whole_numbers(text: str) -> list[int]:
    """Return the numbers of a flag such as `--seeds=0,1,2`, each once; the `type` of argparse."""
    if not all(each.isdecimal() for each in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers, such as 0,1,2")
    return list(dict.fromkeys(map(int, text.split(","))))


def some_of(kind: str, known: Collection[str]) -> Callable[[str], list[str]]:
    """Return the `type` of argparse for a flag such as `--tables=2,1`, which names some of a kind of things."""

    def names(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {kind} {unknown[0]!r}; they are {', '.join(known)}")
        return text.split(",")

    return names


def seeds(out: Path, name: str, control: str = "") -> list[int]:
    """Return the seeds of which results of a row are in a folder."""
    pattern = re.compile(rf"{re.escape(name)}-seed(\d+){f'-{control}' if control else ''}\.json")
    return sorted(int(match[1]) for path in out.glob("*.json") if (match := pattern.fullmatch(path.name)))


def scores(result: dict, stream: str | None = None, ranks: Sequence[int] = (1,)) -> tuple[float, ...]:
    """Return mAP, these ranks and rank-1 between twins, in percent, and seconds of training."""
    protocols = result["streams"][stream] if stream else result["protocols"]
    main = next(iter(protocols.values()))
    twins = result["twins"][stream or "system"]["rank1"]
    shares = (main["mAP"], *(main[f"rank{rank}"] for rank in ranks), twins)
    return *(100 * share for share in shares), result["train_seconds"]


def table(
    found: dict[str, list],
    paper: dict[str, str] | None = None,
    ranks: Sequence[int] = (1,),
    paper_title: str = "paper, MARS",
) -> str:
    """Return the mean ± standard deviation over seeds of the `scores` of each row, as Markdown.

    `paper` are its figures by row, for a column beside ours; `ranks` are those of the scores.
    """
    head = ["row", *([paper_title] if paper else []), "mAP", *(f"rank-{rank}" for rank in ranks)]
    head += ["twins", "training", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for title, values in found.items():
        mean, several = np.mean(values, 0), len(values) > 1
        spread = np.std(values, 0, ddof=1) if several else np.zeros_like(mean)
        cells = [f"{m:.1f} ± {s:.1f}" if several else f"{m:.1f}" for m, s in zip(mean[:-1], spread, strict=False)]
        if paper:
            cells.insert(0, paper.get(title, ""))
        lines.append(f"| {title} | {' | '.join(cells)} | {mean[-1]:.0f} s | {len(values)} |")
    return "\n".join(lines) + "\n"
