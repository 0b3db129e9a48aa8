"""The command that checks and builds a data set that was asked for."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.datasets import catalog, loading, progress
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.listing import Listing, Tracklet, compare
from vreid_jax.errors import InputError

NAMES = {name: dataset.builder for name, dataset in catalog.DATASETS.items() if dataset.by_hand}


def main(arguments: Sequence[str] | None = None, prog: str = "prepare.py") -> int:
    """Prepares; returns the exit code: 0, 2 with one sentence on stderr where the input is at fault, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Checks a data set as its authors packed it, compares its counts with the published ones, and builds it.",
    )
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
    flags = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _prepare(flags)
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; nothing half-made is left behind", file=sys.stderr)
        return 130
    return 0


def _prepare(flags: argparse.Namespace) -> None:
    names = _builder_names(flags.dataset, flags.split)
    builders = {name: loading.manual_builder(name, flags.data_dir) for name in names}
    if not flags.check_only:
        _refuse_to_write_into(flags.manual_dir, builders[names[0]])
    distinct: dict[str, Tracklet] = {}
    said: set[str] = set()
    with ManualFiles(flags.manual_dir) as files, progress.shown(True):
        for name, builder in builders.items():
            listing = builder.list_tracklets(files)
            _report(builder, listing, said)
            print(f"{name}: split is {listing.split_source}", flush=True)
            distinct |= {tracklet.tracklet_id: tracklet for split in listing.splits().values() for tracklet in split}
        if flags.check_only:
            _open_every_picture(files, list(distinct.values()))
            return
    for name in names:
        before = loading.is_prepared(name, flags.data_dir) and not flags.rebuild
        built = loading.prepare(name, flags.manual_dir, flags.data_dir, rebuild=flags.rebuild)
        splits = ", ".join(f"{split} {info.num_examples:,}" for split, info in built.info.splits.items())
        print(
            f"{name}: {splits} tracklets, split {built.info.metadata['split_source']}, in {Path(built.data_dir)}"
            + (" (built before and left as it was; --rebuild builds it anew)" if before else ""),
            flush=True,
        )


def _refuse_to_write_into(manual_dir: str, builder: ManualBuilder) -> None:
    manual, target = Path(manual_dir).expanduser().resolve(), Path(builder.data_dir).expanduser().resolve()
    if target.is_relative_to(manual):
        raise InputError(f"{target} lies in --manual_dir={manual_dir}, which is only read: give another --data_dir")


def _builder_names(dataset: str, split: str) -> list[str]:
    name = NAMES[dataset]
    configs = list(loading.manual_builder(name).builder_configs)
    if split == "all" or (not configs and split == "0"):
        return [f"{name}/{config}" for config in configs] or [name]
    if f"split_{split}" not in configs:
        has = f"0 to {len(configs) - 1}, or all" if configs else "0 alone"
        raise InputError(f"--split={split}: the splits of {dataset} are {has}")
    return [f"{name}/split_{split}"]


def _report(builder: ManualBuilder, listing: Listing, said: set[str]) -> None:
    """Prints every number beside the published one; after the first division only differences that were not `said`."""
    findings = compare(listing, builder.published())
    if said:
        for finding in findings:
            if finding.differs and str(finding) not in said:
                print(finding)
                said.add(str(finding))
        return
    said |= {str(finding) for finding in findings}
    print(*findings, sep="\n")
    differing = sum(finding.differs for finding in findings)
    checked = sum(bool(finding.published) for finding in findings)
    print(
        f"{differing} of {checked} published numbers differ" if differing else f"all {checked} published numbers agree"
    )


def _open_every_picture(files: ManualFiles, tracklets: list[Tracklet]) -> None:
    """Raises `InputError` for the first picture that is not whole."""
    for tracklet in progress.tracklets(tracklets, "opening pictures"):
        for path in tracklet.frames:
            files.picture(path)
    print("every picture is whole")
