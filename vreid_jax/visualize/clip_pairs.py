"""The most and the least important pairs of clips of two tracklets, as the clip-similarity paper's Figure 7.

python -m vreid_jax.visualize.clip_pairs --workdir=runs/clip_similarity-walkers --out=pairs.png [--query=TRACKLET]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from vreid_jax.cli.model_picture import check_out
from vreid_jax.errors import InputError
from vreid_jax.visualize.contact_sheet import Row, contact_sheet
from vreid_jax.visualize.picture_file import write_picture


def pair_rows(
    query: np.ndarray, gallery: np.ndarray, alpha: np.ndarray, cosines: np.ndarray, shown: int = 2
) -> list[Row]:
    """Return rows of a contact sheet: the `shown` most important pairs of clips, then the `shown` least important.

    Args:
      query: uint8 `[M, T, H, W, 3]`, the clips of the query tracklet, on the left of a row.
      gallery: uint8 `[N, T, H, W, 3]`, on the right of a row, after an empty frame.
      alpha: `[M, N]` importances; labels give their share of the sum.
      cosines: `[M, N]` cosine similarities of the clips' features.
      shown: how many pairs to show of each.
    """
    order = np.argsort(-alpha, axis=None)
    share = alpha / alpha.sum()
    gap = np.full_like(query[0, :1], 255)
    chosen = [("most", pair) for pair in order[:shown]] + [
        ("least", pair) for pair in order[max(shown, len(order) - shown) :]
    ]
    rows = []
    for what, pair in chosen:
        q, g = np.unravel_index(pair, alpha.shape)
        label = f"{what}: clips {q + 1} and {g + 1}, weight {100 * share[q, g]:.1f} %, cosine {cosines[q, g]:.2f}"
        rows.append((label, [*query[q], *gap, *gallery[g]]))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture; returns the exit code: 0, or 2 with one sentence on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished run of clip_similarity")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--query", help="id of the query tracklet; default: the first that has a match")
    parser.add_argument("--gallery", help="id of the gallery tracklet; default: the nearest of another camera")
    parser.add_argument("--shown", type=int, default=2, help="pairs at either end")
    flags = parser.parse_args(arguments)
    try:
        check_out(flags.out)
        write_picture(flags.out, picture(flags.workdir, flags.query, flags.gallery, flags.shown))
    except InputError as error:
        print(f"clip_pairs: {error}", file=sys.stderr)
        return 2
    print(flags.out)
    return 0


def picture(workdir: Path, query: str | None, gallery: str | None, shown: int) -> np.ndarray:
    """The sheet of one query and one gallery tracklet of a finished run, uint8 `[H, W, 3]` RGB.

    Raises:
      InputError: for a workdir without such a run, or a tracklet that is not in its test set.
    """
    from vreid_jax.data import split_clips
    from vreid_jax.experiment.run import Run

    if not (workdir / "features" / "clips.npz").is_file():
        raise InputError(f"{workdir} holds no evaluated run of clip_similarity: there is no features/clips.npz")
    run = Run(ConfigDict(json.loads((workdir / "config.json").read_text())), workdir, "evaluate")
    state, _ = run.restored()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    table, tracklets = np.load(workdir / "features" / "clips.npz"), run.test.tracklets
    clips, ids = table["features"], table["tracklet_ids"].tolist()
    pids, camids = table["pids"], table["camids"]
    for name in filter(None, (query, gallery)):
        if name not in ids:
            raise InputError(f"there is no tracklet {name!r} in the test set; the first is {ids[0]!r}")
    q = ids.index(query) if query else _with_match(run.test.query_rows, pids, camids)
    similarity = run.module.apply(variables, clips[q : q + 1], clips, method="similarity")[0]
    if gallery:
        g = ids.index(gallery)
    else:
        g = int(np.argmax(np.where(camids != camids[q], np.asarray(similarity), -np.inf)))
    alpha = np.asarray(run.module.apply(variables, clips[q : q + 1], clips[g : g + 1], method="importance"))[0, 0]
    units = [clips[row] / np.maximum(np.linalg.norm(clips[row], axis=1, keepdims=True), 1e-12) for row in (q, g)]
    stream = run.config.evaluation.streams.clips.clip
    frames = [
        tracklets.read(row, split_clips(stream.kind, int(tracklets.num_frames[row]), stream.length, stream.num_clips))
        for row in (q, g)
    ]
    rows = pair_rows(*frames, alpha, units[0] @ units[1].T, shown)
    same = "the same person" if pids[q] == pids[g] else "another person"
    title = f"{ids[q]} and {ids[g]} ({same}): similarity {float(similarity[g]):.2f}"
    rows[0] = (f"{title}. {rows[0][0]}", rows[0][1])
    return contact_sheet(rows, columns=2 * stream.length + 1)


def _with_match(query_rows, pids, camids) -> int:
    for row in query_rows.tolist():
        if pids[row] > 0 and ((pids == pids[row]) & (camids != camids[row])).any():
            return row
    return int(query_rows[0])


if __name__ == "__main__":
    sys.exit(main())
