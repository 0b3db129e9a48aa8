"""Measure on a gallery itself up to which distance two tracklets are one person, and keep it there; no labels needed."""

from __future__ import annotations

import argparse

from vreid_jax.cli.numbers import decimal

EXAMPLE = "vreid calibrate gallery.parquet --false-accept-rate=0.01"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "gallery",
        help="file that `vreid embed` wrote from a video, or a folder or address of such files; their metadata are changed",
    )
    parser.add_argument(
        "--false-accept-rate", type=decimal, default=0.01, help="share of pairs of two people within the threshold"
    )
    parser.add_argument("--model", help="of the gallery, to look at pieces of tracklets; default: the one in the box")
    parser.add_argument(
        "--no-pieces",
        action="store_true",
        help="measure no share of same-person pairs: needs neither model nor pictures",
    )
    parser.add_argument(
        "--no-overlap", action="store_true", help="the cameras show different places: nobody is in two of them at once"
    )
    parser.add_argument("--dry-run", action="store_true", help="measure, and leave the gallery as it is")
    parser.add_argument("--data-dir", help="where datasets are, for a gallery made from one")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Measure; return the thresholds."""
    from vreid_jax import linking
    from vreid_jax.search.gallery import replace_about
    from vreid_jax.search.unchanged import gallery_stamps

    read = gallery_stamps(flags.gallery)
    sightings = linking.open_sightings([flags.gallery])
    calibration = linking.measure(sightings, flags.false_accept_rate, no_overlap=flags.no_overlap)
    without = "--no-pieces was given"
    if not flags.no_pieces:
        calibration, without = _with_pieces(flags, calibration)
    if not flags.dry_run:
        replace_about(flags.gallery, read=read, calibration=calibration.as_metadata())
    place = calibration.place(flags.false_accept_rate)
    return {
        "gallery": flags.gallery,
        "stored": not flags.dry_run,
        "false_accept_rate": calibration.false_accept_rate[place],
        "threshold": calibration.threshold[place],
        "interval": [calibration.low[place], calibration.high[place]],
        "perhaps": calibration.perhaps(place),
        "true_accept_rate": calibration.true_accept_rate[place],
        "without_pieces": without,
        "calibration": calibration.as_metadata(),
    }


def _with_pieces(flags: argparse.Namespace, calibration):
    """Return the calibration with the share of same-person pairs, or as it is and why."""
    from vreid_jax import inference
    from vreid_jax.errors import InputError
    from vreid_jax.inference.box import box_fingerprint
    from vreid_jax.linking.calibrating import with_true_accepts
    from vreid_jax.linking.pieces import piece_vectors
    from vreid_jax.search import open_gallery
    from vreid_jax.search.ranked import check_fingerprint

    gallery = open_gallery(flags.gallery)
    if flags.model is None and box_fingerprint() != gallery.about["fingerprint"]:
        return calibration, "name the model of the gallery with --model"
    model = inference.load(flags.model)
    check_fingerprint(gallery.about, model.fingerprint, flags.gallery)
    try:
        vectors = piece_vectors(model, gallery, flags.data_dir, progress=not flags.quiet)
    except InputError as error:
        if flags.model is not None:
            raise
        return calibration, str(error)
    return with_true_accepts(calibration, vectors), ""


def text(outcome: dict) -> str:
    """Return a table."""
    calibration = outcome["calibration"]
    low, high = outcome["interval"]
    lines = [
        f"{outcome['gallery']}: {calibration['pairs']} pairs of tracklets seen at the same time, of "
        f"{calibration['tracklets']} tracklets",
        f"a false-accept rate of {100 * outcome['false_accept_rate']:g} % is the {calibration['metric']} distance "
        f"{outcome['threshold']:.4g} (95 % interval {low:.4g} to {high:.4g})",
        f"the same person up to {low:.4g}, perhaps up to {outcome['perhaps']:.4g}",
    ]
    if calibration["pieces"]:
        lines.append(
            f"about {100 * outcome['true_accept_rate']:.0f} % of the pairs of one person are within the former, by the ends "
            f"of {calibration['pieces']} tracklets with their drift; of other cameras fewer"
        )
    else:
        lines.append(f"how many pairs of one person are within it was not measured: {outcome['without_pieces']}")
    lines += ["", f"{'rate':>8}{'distance':>12}{'from':>12}{'to':>12}"]
    columns = (calibration[name] for name in ("false_accept_rate", "threshold", "low", "high"))
    for rate, distance, start, end in zip(*columns, strict=True):
        lines.append(f"{rate:>8g}{distance:>12.4g}{start:>12.4g}{end:>12.4g}")
    lines.append("" if outcome["stored"] else "the gallery was left as it is")
    return "\n".join(lines).rstrip()
