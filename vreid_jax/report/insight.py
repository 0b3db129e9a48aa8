"""Pictures of what a network looks at: part maps, attention, or the importance of clips, as the system has them."""

import jax
import jax.numpy as jnp
import numpy as np
from markupsafe import Markup

from vreid_jax import data, inference, models
from vreid_jax.config.run import parse_streams
from vreid_jax.errors import InputError
from vreid_jax.evaluation.features import extract_stream
from vreid_jax.report.pictures import jpeg_address
from vreid_jax.report.ranked_lists import Lists, RankedList
from vreid_jax.report.rendering import render
from vreid_jax.report.stored import StoredRun
from vreid_jax.training.network import normalise
from vreid_jax.visualize.contact_sheet import Row, contact_sheet
from vreid_jax.visualize.heat import attention_rows, part_map_rows
from vreid_jax.visualize.pair_rows import pair_rows

TRACKLETS = 3
CELL_HEIGHT = 96
MIN_CELL_WIDTH = 64  # pixels of an enlarged frame under attention
CAPTIONS = {
    "part_maps": "Part maps: where in the clip the network looks for each part of the body; warm colours mark large values.",
    "attention_map": "Non-local attention: what the ringed position, the chest in the middle frame, attends to across the clip.",
    "importance": (
        "Importance of clips: the pairs of clips of a query (left) and its nearest tracklet in the list (right) that "
        "count most and least towards their similarity."
    ),
}


def insight(run: StoredRun, tracklets: data.Tracklets, lists: Lists) -> Markup:
    """Return the pictures that the run's system offers, for the first queries of `lists`; empty where it has none."""
    kind = next((name for name in CAPTIONS if hasattr(models.entry(run.config.model.name).module, name)), None)
    if kind is None:
        return Markup()
    model = inference.load(run.workdir)
    model.config.logging.progress = False
    chosen = [*lists.sample, *lists.worst][:TRACKLETS]
    draw = {"part_maps": _parts, "attention_map": _attention, "importance": _importance}[kind]
    try:
        figures = [_figure(draw(model, tracklets, one)) for one in chosen]
    except _NothingToShow:
        return Markup()
    return render("insight.html", caption=CAPTIONS[kind], figures=figures)


class _NothingToShow(Exception):
    """The system could draw the picture, but not as this run is configured."""


def _frames(model: inference.Model, tracklets: data.Tracklets, row: int) -> tuple[np.ndarray, dict]:
    """Return the middle clip of a tracklet, uint8 [T, H, W, 3] at the model's size, and its stream's arguments."""
    stream = next(iter(model.config.evaluation.streams.values()))
    clip = stream.clip
    clips = data.split_clips(
        clip.kind, int(tracklets.num_frames[row]), clip.length, clip.num_clips, clip.stride, np.random.default_rng(0)
    )
    frames = tracklets.read(row, clips[len(clips) // 2])
    return data.resize(frames, model.config.data.height, model.config.data.width), stream.apply.to_dict()


def _title(tracklets: data.Tracklets, row: int) -> str:
    """Return the label of a tracklet."""
    return f"{tracklets.tracklet_ids[row]}: person {tracklets.pids[row]}, camera {tracklets.camids[row]}"


def _parts(model: inference.Model, tracklets: data.Tracklets, one: RankedList) -> list[Row]:
    """Return the part maps of a query's middle clip."""
    frames, apply = _frames(model, tracklets, one.row)
    if apply.get("stream"):
        raise _NothingToShow
    variables = jax.tree.map(jnp.asarray, dict(model.variables))
    maps = model.module.part_maps(variables, normalise(frames[None], model.mean, model.std))
    return part_map_rows(_title(tracklets, one.row), frames, np.asarray(maps[0], np.float32))


def _attention(model: inference.Model, tracklets: data.Tracklets, one: RankedList) -> list[Row]:
    """Return what the chest in a query's middle clip attends to."""
    frames, _ = _frames(model, tracklets, one.row)
    position = (len(frames) // 2, frames.shape[1] * 2 // 5, frames.shape[2] // 2)
    try:
        maps = model.module.attention_map(model.variables, normalise(frames[None], model.mean, model.std), position)
    except InputError as error:  # a network without blocks
        raise _NothingToShow from error
    scale = max(1, -(-MIN_CELL_WIDTH // frames.shape[2]))
    return attention_rows(_title(tracklets, one.row), frames, np.asarray(maps[0], np.float32), position, scale)


def _importance(model: inference.Model, tracklets: data.Tracklets, one: RankedList) -> list[Row]:
    """Return the pairs of clips of a query and its nearest tracklet that count most and least."""
    (stream,) = parse_streams(model.config.evaluation).values()
    similarity = model.config.evaluation.similarity.get("kind", "learned")
    if stream.average or similarity != "learned" or not one.found:
        raise _NothingToShow
    rows = (one.row, one.found[0].row)
    options = model.extraction()

    def clips(row: int) -> np.ndarray:
        frames = data.clips_as_evaluated(tracklets, row, stream.clip, options.seed)
        resized = data.resize(frames.reshape(-1, *frames.shape[2:]), *options.size)
        return resized.reshape(*frames.shape[:2], *resized.shape[1:])

    table = extract_stream(
        model.network, model.variables, data.JoinedSource([tracklets], np.array(rows)), stream, options
    )
    alpha = model.module.apply(model.variables, table[:1], table[1:], method="importance")
    units = table / np.maximum(np.linalg.norm(table, axis=2, keepdims=True), 1e-12)
    found = pair_rows(clips(rows[0]), clips(rows[1]), np.asarray(alpha)[0, 0], units[0] @ units[1].T)
    same = "the same person" if one.found[0].right else "another person"
    heading = f"{tracklets.tracklet_ids[rows[0]]} and {tracklets.tracklet_ids[rows[1]]} ({same}). {found[0][0]}"
    return [(heading, found[0][1]), *found[1:]]


def _figure(rows: list[Row]) -> tuple[str, str]:
    """Return the label of a sheet of `rows` and its picture as a data address."""
    sheet = contact_sheet(rows, columns=max(len(frames) for _, frames in rows), cell_height=CELL_HEIGHT)
    return rows[0][0], jpeg_address(sheet, quality=80)
