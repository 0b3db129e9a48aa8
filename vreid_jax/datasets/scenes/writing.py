"""Writing of a scene: one video a camera, the truth as MOTChallenge text, and a description of it all as JSON."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from vreid_jax.datasets.scenes.drawing import Seen, draw_camera
from vreid_jax.datasets.scenes.plan import SceneSettings
from vreid_jax.datasets.video.writer import video_writer, write_frame
from vreid_jax.datasets.walkers.processes import cores, in_order
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_folder, given_path

START = "2026-03-02T09:00:00+00:00"  # of every video; a Monday
_LEAST_VISIBLE = 0.3  # of a box of a track
_SUFFIX = ".webm"  # opens in browsers too


@dataclasses.dataclass(frozen=True)
class Visit:
    """A person in the view of a camera, from when they come in until they leave: the boxes in which they can be seen."""

    track: int
    identity: int
    boxes: tuple[Seen, ...]


def render_scene(settings: SceneSettings, out: str | os.PathLike, *, progress: bool = False) -> dict:
    """Write a scene into a new folder, which appears when all of it is written; return what `scene.json` holds.

    For each camera k from 1 on there are `camerak.webm`, `camerak.gt.txt` and `camerak.tracks.txt`. The truth (`gt`) has
    one line `frame,identity,x,y,w,h,1,1,visibility` for everybody in the picture, hidden or not, with identities that are
    the same in all cameras. The tracks have one id for each visit of a person to the view, and boxes,
    `frame,id,x,y,w,h,1,-1,-1,-1`, while at least three tenths of the person are visible. Boxes are the part of a person
    inside the picture. The same settings give the same pictures with the same versions of the libraries.

    Args:
      settings: what to draw.
      out: the folder, which does not exist.
      progress: whether to show a bar.

    Raises:
      InputError: when the folder exists, or cannot be written.
    """
    out = given_path(out)
    if os.path.lexists(out):
        raise InputError(f"{out} exists already: name another folder, or remove it")
    with atomic_folder(out) as folder:
        jobs = [(settings, camid, str(folder)) for camid in range(1, settings.cameras + 1)]
        drawn = in_order(_write_camera, jobs, min(settings.cameras, cores()))
        found = list(tqdm(drawn, desc="drawing", total=len(jobs), unit=" cameras", disable=not progress))
        about = {
            **dataclasses.asdict(settings),
            "cameras": [
                {"name": f"camera{camid}", "camid": camid, "video": f"camera{camid}{_SUFFIX}", "fps": settings.fps, "start": START}
                for _, camid, _ in jobs
            ],
            "tracks": {f"camera{camid}": {str(v.track): v.identity for v in visits} for (_, camid, _), visits in zip(jobs, found, strict=True)},
        }  # fmt: skip
        (folder / "scene.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


def _write_camera(job: tuple[SceneSettings, int, str]) -> list[Visit]:
    """Write the three files of one camera; return the visits to it, without their boxes."""
    settings, camid, folder = job
    stem = Path(folder) / f"camera{camid}"
    truth: list[Seen] = []
    size = settings.height, settings.width
    with video_writer(stem.with_suffix(_SUFFIX), float(settings.fps), size) as writer:
        for image, seen in draw_camera(settings, camid):
            write_frame(writer, image)
            truth += seen
    found = visits(truth, settings.fps)
    rows = sorted((box.frame, visit.track, box) for visit in found for box in visit.boxes)
    Path(f"{stem}.gt.txt").write_text(
        "".join(f"{s.frame},{s.identity},{','.join(map(str, s.box))},1,1,{s.visibility:.3f}\n" for s in truth)
    )
    Path(f"{stem}.tracks.txt").write_text(
        "".join(f"{frame},{track},{','.join(map(str, box.box))},1,-1,-1,-1\n" for frame, track, box in rows)
    )
    return [dataclasses.replace(visit, boxes=()) for visit in found]


def visits(truth: Sequence[Seen], fps: int) -> list[Visit]:
    """Return the visits to a camera, with their tracks from 1 on in the order in which people come in.

    A person who is out of the picture for a second begins another visit; one who is hidden does not. Visits with boxes of
    less than half a second are left out.
    """
    runs: dict[int, list[list[Seen]]] = {}
    for seen in truth:
        of_person = runs.setdefault(seen.identity, [])
        if not of_person or seen.frame - of_person[-1][-1].frame > fps:
            of_person.append([])
        of_person[-1].append(seen)
    kept = []
    for identity, of_person in runs.items():
        for run in of_person:
            boxes = tuple(seen for seen in run if seen.visibility >= _LEAST_VISIBLE)
            if len(boxes) >= max(2, fps // 2):
                kept.append((boxes[0].frame, identity, boxes))
    return [
        Visit(track, identity, boxes) for track, (_, identity, boxes) in enumerate(sorted(kept, key=lambda v: v[:2]), 1)
    ]
