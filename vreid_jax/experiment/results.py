"""results.json and the table on the terminal: every number with its dataset, protocol, queries and gallery."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.json_files import read_json
from vreid_jax.model_files.metadata import NUMBER, OPEN_SET, SCORES, check_lengths, validation_note

_SCORES = {"num_queries": float, "num_valid_queries": float, "num_gallery": float, **SCORES, "cmc": [NUMBER]}
SHAPE = {
    "system": str,
    "dataset": str,
    "dataset_config?": str,
    "split": (int, str),
    "seed": int,
    "step": int,
    "protocols": {str: _SCORES},
    "streams?": {str: {str: _SCORES}},
    "baselines?": {str: {str: _SCORES}},
    "reranked?": {str: _SCORES},
    "twins?": {str: {"rank1": NUMBER, "num_pairs": int}},
    "metric?": str,
    "unfinished?": str,
    "validation?": float,
    "open_set?": OPEN_SET,
}
_OF_ALL_SPLITS = {**SHAPE, "splits": [{"split": int}], "std": {str: {name: NUMBER for name in SCORES}}}


def read_results(path: Path) -> dict[str, Any]:
    """Return the content of a `results.json` (see `Results.content`), which has a protocol at least.

    Raises:
      InputError: when the file cannot be read or is damaged.
    """
    content = read_json(path, SHAPE)
    try:
        if not content["protocols"]:
            raise ValueError("it has no protocols")
        check_lengths(content.get("open_set"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return read_json(path, _OF_ALL_SPLITS) if content["split"] == "all" else content


@dataclasses.dataclass
class Results:
    """What a run found out: the content of `results.json`, fractions throughout."""

    system: str
    dataset: str
    split: int | str
    seed: int
    step: int
    protocols: dict[str, dict]
    streams: dict[str, dict] = dataclasses.field(default_factory=dict)
    baselines: dict[str, dict] = dataclasses.field(default_factory=dict)
    twins: dict[str, dict] = dataclasses.field(default_factory=dict)
    reranked: dict[str, dict] = dataclasses.field(default_factory=dict)
    splits: list[dict] = dataclasses.field(default_factory=list)
    std: dict[str, dict] = dataclasses.field(default_factory=dict)
    skipped_frames: int = 0
    invalid_queries: int = 0
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def content(self) -> dict:
        """Return what `results.json` holds; what the run has nothing of is left out, and `null` stands for no number."""
        content = dataclasses.asdict(self)
        content.update(content.pop("extra"))
        for name in ("twins", "reranked", "splits", "std"):
            if not content[name]:
                del content[name]
        return _without_nan(content)

    def save(self, path: Path) -> None:
        """Write the file in one piece; a reader never sees half of it."""
        with atomic_file(path) as half:
            self.write(half)

    def write(self, file: Path) -> None:
        """Write the content into a file."""
        file.write_text(json.dumps(self.content(), indent=1) + "\n")

    def table(self) -> str:
        """Return the scores as text, in percent, one row for each system, stream and baseline and protocol."""
        name = next(iter(self.protocols))
        counts = [
            f"Protocol {protocol}: {scores['num_queries']} queries, {scores['num_valid_queries']} valid, "
            f"gallery {scores['num_gallery']}."
            for protocol, scores in self.protocols.items()
        ]
        data = self.extra.get("dataset_config") or self.dataset
        data += ", frames shuffled" if self.extra.get("shuffled_frames") else ""
        trained = self.extra.get("trained_on")
        split = (
            f"{self.split}{f', trained on {trained}' if trained else ''}{validation_note(self.extra.get('validation'))}"
        )
        head = f"{self.system} on {data}, split {split}, seed {self.seed}, step {self.step}. {counts[0]}"
        lines = [head, f"{'':32}{'rank-1':>8}{'rank-5':>8}{'mAP':>8}{'mAP trap.':>11}"]
        rows = [(self.system, self.protocols)]
        rows += [("re-ranked", self.reranked)] if self.reranked else []
        rows += [(f"stream {stream}", scores) for stream, scores in self.streams.items()]
        rows += [(baseline.replace("_", " "), scores) for baseline, scores in self.baselines.items()]
        for title, protocols in rows:
            for protocol, scores in protocols.items():
                label = title if protocol == name else f"{title} ({protocol})"
                cells = [scores.get(key, math.nan) for key in ("rank1", "rank5", "mAP", "mAP_trapezoid")]
                lines.append(
                    f"{label:32}" + "".join(f"{100 * x:{w}.1f}" for x, w in zip(cells, (8, 8, 8, 11), strict=True))
                )
        if self.std:
            cells = [self.std[name].get(key, math.nan) for key in ("rank1", "rank5", "mAP", "mAP_trapezoid")]
            lines.insert(
                3,
                f"{f'± over {len(self.splits)} splits':32}"
                + "".join(f"{100 * x:{w}.1f}" for x, w in zip(cells, (8, 8, 8, 11), strict=True)),
            )
        for title, scores in self.twins.items():
            pairs = f"{scores['num_pairs']} comparisons"
            lines.append(f"{f'twins, {title}':32}{100 * scores['rank1']:8.1f}   the right one of two ({pairs})")
        lines += counts[1:]
        if unfinished := self.extra.get("unfinished"):
            lines.append(f"Warning: {unfinished}.")
        if self.invalid_queries:
            lines.append(f"{self.invalid_queries} queries have no match in the gallery and are left out.")
        if self.skipped_frames:
            lines.append(f"{self.skipped_frames} unreadable frames were skipped.")
        return "\n".join(lines)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
