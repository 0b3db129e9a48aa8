"""The page of identities: who was where and when, the doubtful first."""

import contextlib
import dataclasses
import math
import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from markupsafe import Markup

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.linking.identities import UNIX, UNKNOWN, Identities, read_identities
from vreid_jax.report.page import write_page
from vreid_jax.report.pictures import strips
from vreid_jax.report.rendering import render
from vreid_jax.report.tables import table
from vreid_jax.search.address import stated_gallery
from vreid_jax.search.gallery import open_gallery, read_about
from vreid_jax.search.recording import zone_of
from vreid_jax.search.sources import gallery_tracklets
from vreid_jax.search.unchanged import Stamp, gallery_stamps, stamps_of

MOST_FILMS = 1500  # on a page, of about 10 kB each
MOST_RIVALS = 4  # tracklets of the identity that an unknown one may be
DOUBTFUL = 0.1  # confidence below which a link is called doubtful
KINDS = {
    "all": "all",
    "doubtful": "doubtful",
    "several": "in several cameras",
    "one": "in one camera",
    "unknown": "unknown",
}


@dataclasses.dataclass(frozen=True)
class Sight:
    """One tracklet on the page.

    Attributes:
      name: its `tracklet_id`.
      kind: its frame: "asked", "right", "wrong" (doubtful) or "open" (another person's, to compare with).
      lines: what is said below the picture.
      camera: name of its camera.
      left: where it begins on the time line, in percent; NaN: not known.
      width: how long it is, in percent.
      row: of the identities.
    """

    name: str
    kind: str
    lines: list[str]
    camera: str
    left: float
    width: float
    row: int


@dataclasses.dataclass(frozen=True)
class Person:
    """A row of the page: an identity, or an unknown tracklet with the identity that it may be.

    Attributes:
      kinds: which filters show it.
      heading: text above it.
      confidence: the lowest of its tracklets that others are linked to.
      cameras: numbers, for the filter.
      lanes: names of the cameras on its time line.
      sights: by time.
    """

    kinds: tuple[str, ...]
    heading: str
    confidence: float
    cameras: tuple[int, ...]
    lanes: tuple[str, ...]
    sights: list[Sight]


def write_identities_page(
    identities: str | Path, out: str | Path | None = None, *, data_dir: str | None = None
) -> Path:
    """Write the page of a file of identities, by default beside it with the suffix `.html`.

    Args:
      identities: file that `vreid link` wrote; its galleries, and the pictures that they were made from, must still be
        where they were.
      out: file to write.
      data_dir: where datasets are, for galleries made from one.

    Returns:
      Path of the page.

    Raises:
      InputError: when a gallery or a picture is missing, a gallery is of another recording than the one that was linked, or
        the page cannot be written.
    """
    path = given_path(identities)
    read = stamps_of([path])
    known = read_identities(path)
    page = given_path(out) if out else path.with_suffix(".html")
    zone = _zone(known, path)
    people = _people(known, zone)
    shown, films = [], 0
    for person in people:
        if films + len(person.sights) > MOST_FILMS and shown:
            continue
        shown.append(person)
        films += len(person.sights)
    addresses, of_galleries = _addresses(
        known, path, {sight.row for person in shown for sight in person.sights}, data_dir
    )
    explanation = (
        "Each person's tracklets by camera and time, the doubtful first. Hover over a picture or a bar, or tap it, to see "
        "it walk. Dashed frame: a doubtful link, with the distance from the others and the person that comes second. Grey "
        "frame: the person that an unknown tracklet may be."
    )
    if len(shown) < len(people):
        explanation = f"{len(shown)} of {len(people)} rows are shown, the doubtful first. {explanation}"
    body = render(
        "identities.html",
        people=shown,
        kinds=KINDS,
        cameras=sorted({camera for person in shown for camera in person.cameras}),
        explanation=explanation,
        addresses=addresses,
        axis=_axis(known, zone),
    )
    sections = {"Identities": _facts(known), "People": body}
    title, read = f"People of {path.name}", read | of_galleries
    return write_page(page, "identities", [path], title, sections, caution=_caution(known), read=read)


def _people(known: Identities, zone: timezone) -> list[Person]:
    """Return the rows of the page: doubtful links first, then unknown ones, then the others by when they are first seen."""
    members = known.members()
    people = [_person(known, number, rows, zone) for number, rows in members.items()]
    rival = known.columns["rival"]
    for row in np.flatnonzero(known.columns["identity"] == UNKNOWN).tolist():
        people.append(_unknown(known, row, members.get(int(rival[row]), np.empty(0, int)), zone))

    def order(person: Person) -> tuple[int, float]:
        place = 0 if "doubtful" in person.kinds else 1 if "unknown" in person.kinds else 2
        return place, person.confidence if place == 0 else 0.0

    return sorted(people, key=order)


def _person(known: Identities, number: int, rows: np.ndarray, zone: timezone) -> Person:
    columns = known.columns
    rows = rows[np.argsort(columns["start_seconds"][rows], kind="stable")]
    cameras = sorted({_camera(known, row) for row in rows.tolist()})
    confidence = columns["confidence"][rows]
    doubtful = len(rows) > 1 and bool((confidence < DOUBTFUL).any())
    kinds = ["several" if len(cameras) > 1 else "one", *(["doubtful"] if doubtful else [])]
    name = columns["name"][rows[0]].item()
    heading = f"{name}, person {number}" if name else f"Person {number}"
    count = f"{len(rows)} tracklets" if len(rows) > 1 else "1 tracklet"
    seen = f"{count} in {len(cameras)} cameras" if len(cameras) > 1 else f"{count} in {cameras[0]}"
    sights = [
        _sight(known, row, "wrong" if len(rows) > 1 and columns["confidence"][row] < DOUBTFUL else "right", zone)
        for row in rows.tolist()
    ]
    numbers = tuple(sorted(set(columns["camid"][rows].tolist())))
    return Person(tuple(kinds), f"{heading}: {seen}", float(confidence.min()), numbers, _lanes(cameras, sights), sights)


def _unknown(known: Identities, row: int, others: np.ndarray, zone: timezone) -> Person:
    """Return the row of an undecided tracklet beside some of the identity that it may be."""
    nearest = others[np.argsort(-known.columns["confidence"][others], kind="stable")][:MOST_RIVALS]
    sights = [_sight(known, row, "asked", zone), *(_sight(known, other, "open", zone) for other in nearest.tolist())]
    rival = int(known.columns["rival"][row])
    who = f"perhaps {_called(known, rival)}" if rival else "nobody who is known"
    cameras = sorted({_camera(known, sight.row) for sight in sights})
    heading = f"Unknown, {sights[0].name}: {who}"
    return Person(("unknown",), heading, 0.0, (int(known.columns["camid"][row]),), _lanes(cameras, sights), sights)


def _sight(known: Identities, row: int, kind: str, zone: timezone) -> Sight:
    columns = known.columns
    start, end = (float(columns[key][row]) for key in ("start_seconds", "end_seconds"))
    first, last = _span(known)
    length = max(last - first, 1e-9)
    lines = [_camera(known, row), *([] if math.isnan(start) else [_moment(known, start, zone)])]
    if kind in ("right", "wrong") and not math.isnan(columns["distance"][row]):
        lines.append(f"distance {columns['distance'][row]:.3g}")
    if kind in ("wrong", "asked") and columns["rival"][row]:
        lines.append(f"{_called(known, int(columns['rival'][row]))} at {columns['rival_distance'][row]:.3g}")
    return Sight(
        name=columns["tracklet_id"][row].item(),
        kind=kind,
        lines=lines,
        camera=lines[0],
        left=100 * (start - first) / length,
        width=100 * (end - start) / length,
        row=row,
    )


def _lanes(cameras: list[str], sights: list[Sight]) -> tuple[str, ...]:
    """Return the cameras of a time line; none where no time is known."""
    return () if all(math.isnan(sight.left) for sight in sights) else tuple(cameras)


def _camera(known: Identities, row: int) -> str:
    """Return what a camera is called; an unknown one after its gallery."""
    number = int(known.columns["camid"][row])
    return f"camera {number}" if number > 0 else Path(known.columns["gallery"][row].item()).stem


def _called(known: Identities, number: int) -> str:
    names = known.columns["name"][known.columns["identity"] == number]
    return names[0].item() if len(names) and names[0] else f"person {number}"


def _span(known: Identities) -> tuple[float, float]:
    start, end = known.columns["start_seconds"], known.columns["end_seconds"]
    if np.isnan(start).all() or np.isnan(end).all():
        return 0.0, 1.0
    return float(np.nanmin(start)), float(np.nanmax(end))


def _zone(known: Identities, path: Path) -> timezone:
    """Return the zone of all times on the page, wherever it is made: the recordings' own, if they state one."""
    folder = Path(os.path.realpath(path)).parent
    moments = []
    for each in known.about["galleries"]:
        with contextlib.suppress(InputError):  # one that is gone is refused where its pictures are needed
            moments.append(read_about(stated_gallery(folder, each["path"])).get("recorded_at"))
    return zone_of(moments)


def _moment(known: Identities, seconds: float, zone: timezone, form: str = "%H:%M:%S %Z") -> str:
    """Return a moment on the clock of the identities."""
    if known.about["clock"] == UNIX:
        return datetime.fromtimestamp(seconds, zone).strftime(form)
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}" if minutes else f"{rest:.1f} s"


def _axis(known: Identities, zone: timezone) -> list[str]:
    """Return what stands at both ends of every time line."""
    return [_moment(known, seconds, zone, "%Y-%m-%d %H:%M:%S %Z") for seconds in _span(known)]


def _addresses(
    known: Identities, path: Path, rows: set[int], data_dir: str | None
) -> tuple[dict[int, str], dict[Path, Stamp | None]]:
    """Return the film strip of each row, as a data address, and the stamps of the galleries before they were read."""
    found: dict[int, str] = {}
    read: dict[Path, Stamp | None] = {}
    folder = Path(os.path.realpath(path)).parent
    for each in known.about["galleries"]:
        wanted = [row for row in sorted(rows) if known.columns["gallery"][row] == each["path"]]
        if not wanted:
            continue
        place = stated_gallery(folder, each["path"])
        read |= gallery_stamps(place)
        gallery = open_gallery(place)
        known.refuse_replaced(path, each["path"], each["path"], gallery.columns, gallery.about)
        row_of = {name: number for number, name in enumerate(gallery.columns["tracklet_id"].tolist())}
        names = known.columns["tracklet_id"][wanted].tolist()
        if gone := [name for name in names if name not in row_of]:
            raise InputError(f"{each['path']} no longer has the tracklet {gone[0]}: link again with --into={path}")
        tracklets = gallery_tracklets(gallery, np.array([row_of[name] for name in names]), data_dir)
        found |= {wanted[number]: address for number, address in strips(tracklets, range(len(wanted))).items()}
    return found, read


def _caution(known: Identities) -> str:
    return (
        f"Tracklets were linked up to the distance {known.about['threshold']:.4g}: {known.about['threshold_from']}. A link is "
        "a guess of a machine: look at both before you rely on it."
    )


def _facts(known: Identities) -> Markup:
    """Return a table of what was linked."""
    about, summary = known.about, known.summary()
    rows = [
        ["made from", ", ".join(each["path"] for each in about["galleries"])],
        ["model", f"{about['model']} {about['fingerprint']}"],
        ["tracklets", str(len(known))],
        ["people", str(summary["identities"])],
        ["of them in several cameras", str(summary["across_cameras"])],
        ["unknown tracklets", str(summary["unknown"])],
        [f"one person up to the {about['metric']} distance", f"{about['threshold']:.4g}"],
        ["perhaps up to", f"{about['perhaps']:.4g}"],
    ]
    return table(["", ""], rows)
