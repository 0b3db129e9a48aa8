"""Check a published dataset as its authors packed it, compare its counts with the published ones, and build it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vreid_jax.cli import build_work
from vreid_jax.datasets import catalog
from vreid_jax.errors import InputError

if TYPE_CHECKING:
    from vreid_jax.datasets.manual.builder import ManualBuilder
    from vreid_jax.datasets.manual.listing import Listing, Tracklet

EXAMPLE = "vreid data prepare mars --manual_dir=FOLDER --check-only"
INTERRUPTED = "interrupted; nothing half-made is left behind"
REPORTS_UNDERWAY = True  # the counts come before a build of an hour
NAMES = {name: dataset.builder for name, dataset in catalog.DATASETS.items() if dataset.by_hand}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("dataset", choices=NAMES)
    parser.add_argument(
        "--manual_dir", "--manual-dir", required=True, help="folder or archive with the data; only read"
    )
    parser.add_argument(
        "--data_dir", "--data-dir", help="where to build; default: $TFDS_DATA_DIR or ~/tensorflow_datasets"
    )
    parser.add_argument("--split", default="all", help="of ilids_vid and prid2011: 0 to 9, or all (default)")
    parser.add_argument("--check-only", "--check_only", action="store_true", help="open every picture, build nothing")
    parser.add_argument(
        "--rebuild", action="store_true", help="build again what is built, e.g. with another split file"
    )
    build_work.add_arguments(parser)


def run(flags: argparse.Namespace) -> dict:
    """Check and build; print the counts at once, and return what was built."""
    from vreid_jax.datasets import loading, progress
    from vreid_jax.datasets.manual.files import ManualFiles

    build_work.chosen(flags)  # what is wrong is said first
    names = _builder_names(flags.dataset, flags.split)
    builders = {name: loading.manual_builder(name, flags.data_dir) for name in names}
    if not flags.check_only:
        _refuse_to_write_into(flags.manual_dir, builders[names[0]])
    distinct: dict[str, Tracklet] = {}
    said: dict[str, dict] = {}
    with ManualFiles(flags.manual_dir) as files, progress.shown(True):
        for name, builder in builders.items():
            listing = builder.list_tracklets(files)
            _report(builder, listing, said)
            print(f"{name}: split is {listing.split_source}", flush=True)
            distinct |= {tracklet.tracklet_id: tracklet for split in listing.splits().values() for tracklet in split}
        for reason in files.left_out:
            print(f"left out: {reason}", flush=True)
        if flags.check_only:
            _open_every_picture(flags.manual_dir, list(distinct.values()), flags.processes)
    built = [] if flags.check_only else [_build(name, flags) for name in names]
    return {"dataset": flags.dataset, "counts": list(said.values()), "built": built}


def text(outcome: dict) -> str:
    """Return what was built, a line each, and once more, unless it was said just now, what is not as published."""
    lines = []
    for built in outcome["built"]:
        counts = ", ".join(f"{split} {count:,}" for split, count in built["tracklets"].items())
        before = " (built before and left as it was; --rebuild builds it anew)" if built["before"] else ""
        lines.append(f"{built['name']}: {counts} tracklets, split {built['split']}, in {built['path']}{before}")
    lines = lines or ["every picture is whole"]
    differing = [_in_place_of(count) for count in outcome["counts"] if count["differs"]]
    worked = not outcome["built"] or any(not built["before"] for built in outcome["built"])
    if differing and worked:
        lines.append(f"not as published: {'; '.join(differing)}")
    return "\n".join(lines)


def _in_place_of(count: dict) -> str:
    published = " or ".join(f"{value:,}" for value in count["published"])
    return f"{count['what']} {count['found']:,} in place of {published}"


def _build(name: str, flags: argparse.Namespace) -> dict:
    from vreid_jax.datasets import loading

    before = loading.is_prepared(name, flags.data_dir) and not flags.rebuild
    built = loading.prepare(
        name, flags.manual_dir, flags.data_dir, rebuild=flags.rebuild, work=build_work.chosen(flags), warn=False
    )
    about = built.info.metadata
    assert about is not None  # `ManualBuilder` describes every dataset that it builds
    return {
        "name": name,
        "path": str(Path(built.data_dir)),
        "split": about["split_source"],
        "tracklets": {split: info.num_examples for split, info in built.info.splits.items()},
        "before": before,
    }


def _refuse_to_write_into(manual_dir: str, builder: ManualBuilder) -> None:
    manual, target = Path(manual_dir).expanduser().resolve(), Path(builder.data_dir).expanduser().resolve()
    if target.is_relative_to(manual):
        raise InputError(f"{target} lies in --manual_dir={manual_dir}, which is only read: give another --data_dir")


def _builder_names(dataset: str, split: str) -> list[str]:
    from vreid_jax.datasets import loading

    name = NAMES[dataset]
    configs = list(loading.manual_builder(name).builder_configs)
    if split == "all" or (not configs and split == "0"):
        return [f"{name}/{config}" for config in configs] or [name]
    if f"split_{split}" not in configs:
        has = f"0 to {len(configs) - 1}, or all" if configs else "0 alone"
        raise InputError(f"--split={split}: the splits of {dataset} are {has}")
    return [f"{name}/split_{split}"]


def _report(builder: ManualBuilder, listing: Listing, said: dict[str, dict]) -> None:
    """Print every number beside the published one; after the first split only differences that were not `said`."""
    from vreid_jax.datasets.manual.listing import compare

    findings = compare(listing, builder.published())
    first = not said
    for finding in findings:
        if first or (finding.differs and str(finding) not in said):
            print(finding)
            said[str(finding)] = {
                "what": finding.what,
                "found": finding.found,
                "published": list(finding.published),
                "differs": finding.differs,
            }
    if first:
        differing = sum(finding.differs for finding in findings)
        checked = sum(bool(finding.published) for finding in findings)
        agreement = (
            f"{differing} of {checked} published numbers differ"
            if differing
            else f"all {checked} published numbers agree"
        )
        print(agreement)


def _open_every_picture(root: str, tracklets: list[Tracklet], processes: int | None) -> None:
    """Raise `InputError` for the first picture that is not whole."""
    from vreid_jax.datasets import progress
    from vreid_jax.datasets.manual.builder import PictureCounts
    from vreid_jax.datasets.processes import FEWEST_READ, in_order

    opened = in_order(PictureCounts(root), tracklets, processes, FEWEST_READ)
    for _ in zip(progress.tracklets(tracklets, "opening pictures"), opened, strict=True):
        pass
