"""Draw the most and the least important pairs of clips of two tracklets, as the clip-similarity paper's Figure 7."""

import argparse
import functools
from pathlib import Path

from vreid_jax.cli.model_picture import check_out
from vreid_jax.errors import InputError

EXAMPLE = "vreid clip-pairs --workdir=runs/clip_similarity-walkers --out=pairs.png --query=TRACKLET"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished run of clip_similarity")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--query", help="id of the query tracklet; default: the first that has a match")
    parser.add_argument("--gallery", help="id of the gallery tracklet; default: the nearest of another camera")
    parser.add_argument("--shown", type=int, default=2, help="pairs at either end")


def run(flags: argparse.Namespace) -> dict:
    """Write the picture; return its path."""
    from vreid_jax.visualize.picture_file import write_picture

    check_out(flags.out)
    if flags.shown < 1:
        raise InputError(f"--shown={flags.shown} must be at least 1")
    write_picture(flags.out, picture(flags.workdir, flags.query, flags.gallery, flags.shown))
    return {"out": str(flags.out)}


def text(outcome: dict) -> str:
    """Return the path of the picture."""
    return outcome["out"]


def picture(workdir: Path, query: str | None, gallery: str | None, shown: int):
    """Return the sheet of one query and one gallery tracklet of a finished run, uint8 `[H, W, 3]` RGB.

    Raises:
      InputError: for a workdir without such a run, one that does not compare tracklets by weighted pairs of clips, or a
        tracklet that is not in its test set.
    """
    import numpy as np

    from vreid_jax import evaluation, inference
    from vreid_jax.config.run import parse_streams
    from vreid_jax.data import clips_as_evaluated
    from vreid_jax.experiment.setup import own_test_splits
    from vreid_jax.visualize.contact_sheet import contact_sheet
    from vreid_jax.visualize.pair_rows import pair_rows

    features = workdir / "features" / "clips.npz"
    if not features.is_file():
        raise InputError(f"{workdir} holds no evaluated run of clip_similarity: there is no features/clips.npz")
    model = inference.load(workdir)
    stream = parse_streams(model.config.evaluation)["clips"]
    kind = model.config.evaluation.similarity.get("kind", "learned")
    if stream.average or kind != "learned":
        how = (
            "the means of their clips (evaluation.streams.clips.average)"
            if stream.average
            else f"similarity.kind={kind}"
        )
        raise InputError(
            f"{workdir} compares tracklets by {how}: only the learned similarity has weights of pairs to draw"
        )
    test = evaluation.make_test_set(*own_test_splits(model.config))
    apply = functools.partial(model.module.apply, model.variables)
    with np.load(features) as table:
        clips, ids = table["features"], table["tracklet_ids"].tolist()
        pids, camids = table["pids"], table["camids"]
    for name in filter(None, (query, gallery)):
        if name not in ids:
            raise InputError(f"there is no tracklet {name!r} in the test set; the first is {ids[0]!r}")
    q = ids.index(query) if query else _with_match(test.query_rows, pids, camids)
    similarity = apply(clips[q : q + 1], clips, method="similarity")[0]
    if gallery:
        g = ids.index(gallery)
    else:
        g = int(np.argmax(np.where(camids != camids[q], np.asarray(similarity), -np.inf)))
    alpha = np.asarray(apply(clips[q : q + 1], clips[g : g + 1], method="importance"))[0, 0]
    units = [clips[row] / np.maximum(np.linalg.norm(clips[row], axis=1, keepdims=True), 1e-12) for row in (q, g)]
    clip = stream.clip
    left, right = (clips_as_evaluated(test.tracklets, row, clip, model.config.seed) for row in (q, g))
    rows = pair_rows(left, right, alpha, units[0] @ units[1].T, shown)
    same = "the same person" if pids[q] == pids[g] else "another person"
    title = f"{ids[q]} and {ids[g]} ({same}): similarity {float(similarity[g]):.2f}"
    rows[0] = (f"{title}. {rows[0][0]}", rows[0][1])
    return contact_sheet(rows, columns=2 * clip.length + 1)


def _with_match(query_rows, pids, camids) -> int:
    for row in query_rows.tolist():
        if pids[row] > 0 and ((pids == pids[row]) & (camids != camids[row])).any():
            return row
    return int(query_rows[0])
