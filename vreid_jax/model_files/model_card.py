"""Model cards: the metadata of a model file as Markdown, with front matter for the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file
from vreid_jax.model_files.metadata import validation_note
from vreid_jax.model_files.weights_file import read_metadata
from vreid_jax.retrieval.distances import METRICS

LICENCES = {
    "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0",
}  # fmt: skip
SCORES = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mAP": "mAP"}


def card_path(path: str | Path) -> Path:
    """Return the path of a model file's card: beside the file, with the suffix `.md`."""
    return Path(path).with_suffix(".md")


def write_card(path: str | Path) -> Path:
    """Write the card of the model file `path` beside it and return its path."""
    metadata = read_metadata(path)
    if metadata is None:
        raise InputError(f"{path} was not written by this library: make it with `vreid convert`")
    out = card_path(path)
    with atomic_file(out) as half:
        half.write_text(model_card(metadata, Path(path).name), encoding="utf-8")
    return out


def model_card(metadata: Mapping[str, Any], name: str) -> str:
    """Return the card of a model file.

    Args:
      metadata: of the file, as `read_metadata` returns it.
      name: by which `vreid_jax.load` finds the file.
    """
    subject, dataset = metadata.get("system") or metadata["model"], _dataset(metadata)
    title = f"{subject}, trained on {dataset}" if dataset else f"{subject}, converted weights"
    adapted = metadata.get("adapted")
    title += f", adapted to {_footage(adapted)}" if adapted else ""
    sections = [
        _front_matter(metadata),
        f"# {title}",
        f"Model `{metadata['model']}` of vreid_jax, video person re-identification in JAX. "
        f"Written by version {metadata['library_version']}"
        + (f", after {metadata['step']} training steps." if metadata.get("step") else "."),
        "## Use",
        "```python\nimport vreid_jax\n\n"
        f'model = vreid_jax.load("{name}")\n'
        "vector = model.embed(frames)  # frames: [T, H, W, 3] uint8 RGB of one person, in temporal order\n```",
        "## Input",
        _input(metadata.get("preprocessing") or {}),
    ]
    if metadata.get("scores"):
        note = validation_note((metadata.get("config") or {}).get("data", {}).get("validation"))
        sections += [f"## Scores on {dataset}{note}", _scores(metadata["scores"], metadata.get("scores_by"))]
    if adapted:
        sections += ["## Adaptation", _adaptation(adapted)]
    sections += [
        "## Licence",
        metadata["licence"],
        "## Fields",
        f"```json\n{json.dumps(metadata['fields'], indent=1)}\n```",
    ]
    if metadata.get("fingerprint"):
        sections.append(f"Fingerprint `{metadata['fingerprint']}`: vectors of equal fingerprints can be compared.")
    return "\n\n".join(sections) + "\n"


def _front_matter(metadata: Mapping[str, Any]) -> str:
    licence = metadata["licence"].strip().lower()
    known = licence in LICENCES
    lines = ["---", "library_name: vreid_jax", f"license: {licence if known else 'other'}"]
    lines += [] if known else ["license_name: see-model-card"]
    lines += ["tags:", "- person-re-identification", "- video", "- jax", f"- {json.dumps(metadata['model'])}"]
    return "\n".join([*lines, "---"])


def _input(preprocessing: Mapping[str, Any]) -> str:
    if not preprocessing:
        return "As the registry entry of the model says."
    lines = [
        f"* frames: {preprocessing['height']} x {preprocessing['width']} pixels (height x width), {preprocessing['pixels']}",
        f"* mean: {', '.join(f'{value:.4g}' for value in preprocessing['mean'])}; std: "
        f"{', '.join(f'{value:.4g}' for value in preprocessing['std'])}; scale: 1/255",
    ]
    for stream, clip in preprocessing["clips"].items():
        frames = "1 frame" if clip["length"] == 1 else f"{clip['length']} frames"
        lines.append(f"* clips of stream `{stream}`: {frames}, stride {clip.get('stride', 1)}, `{clip['kind']}`")
    return "\n".join(lines)


def _dataset(metadata: Mapping[str, Any]) -> str | None:
    """Return what a model was trained on, with its variant where the configuration names one, as `walkers/wild`."""
    dataset = metadata.get("dataset")
    name = ((metadata.get("config") or {}).get("data") or {}).get("name") or ""
    return name if dataset and name.startswith(f"{dataset}/") else dataset


def _footage(adapted: Mapping[str, Any]) -> str:
    return ", ".join(Path(name).name for name in adapted["footage"])


def _adaptation(adapted: Mapping[str, Any]) -> str:
    besides = f", with people of {adapted['synthetic']} mixed in" if adapted.get("synthetic") else ""
    return (
        f"Adapted without labels to {adapted['tracks']} tracks of {_footage(adapted)}{besides}, from "
        f"`{adapted['from_model']}` of fingerprint `{adapted['from_fingerprint']}`, with seed {adapted['seed']}. On the "
        f"{adapted['held_back']} tracks that were held back, the mean reciprocal rank at which a half of a track finds the "
        f"other half went from {adapted['score_before']:.3f} to {adapted['score']:.3f}. It is made for these cameras: "
        "scores that were measured elsewhere, and thresholds for the same person, do not hold for it."
    )


def _scores(scores: Mapping[str, Mapping[str, Any]], comparison: str | None) -> str:
    rows = [["protocol", *SCORES.values(), "queries", "gallery"]]
    rows.append(["---", *(["---:"] * (len(rows[0]) - 1))])
    for protocol, found in scores.items():
        values = [found.get(key) for key in SCORES]
        cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        rows.append([protocol, *cells, str(found.get("num_queries", "–")), str(found.get("num_gallery", "–"))])
    note = f"In percent, by the comparison `{comparison}`." if comparison else "In percent."
    if comparison and comparison not in METRICS:
        note += (
            " This file does not give it: it gives a vector a tracklet, and galleries are searched by their plain distance, "
            "of which these are not the scores."
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{note}"
