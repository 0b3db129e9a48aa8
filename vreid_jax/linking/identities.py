"""Files of identities: Parquet, one row for each tracklet of the galleries that were linked."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, check_readable, given_path
from vreid_jax.json_files import parse_json
from vreid_jax.linking.corrections import Key, relative_to
from vreid_jax.linking.walking import walks_of
from vreid_jax.retrieval.distances import METRICS
from vreid_jax.search.address import stated_gallery
from vreid_jax.search.gallery import KEY, SECONDS, pyarrow
from vreid_jax.search.gallery_files import own_name, source_name

FORMAT = "vreid_jax-identities-1"
UNKNOWN = 0  # in the column `identity`
UNIX, COMMON = "unix", "common"  # clocks
TEXTS = ("gallery", "tracklet_id", "name")
NUMBERS = ("identity", "rival", "camid")
FRACTIONS = ("confidence", "distance", "rival_distance", "start_seconds", "end_seconds")
OPTIONAL = ("distance", "rival_distance", "start_seconds", "end_seconds")
SAME_MOMENT = 1e-3  # seconds; those since 1970 are exact to less than a microsecond

_ABOUT = {
    "format": str,
    "fingerprint": str,
    "model": str,
    "metric": str,
    "galleries": [{"path": str, "rows": int}],
    "clock": str,
    "threshold": float,
    "perhaps": float,
    "threshold_from": str,
    "no_overlap": bool,
    "next_identity": int,
    "walks?": [object],  # earlier versions wrote neither this
    "corrections?": int,  # nor this
}


@dataclasses.dataclass(frozen=True)
class Identities:
    """Who N tracklets are.

    Attributes:
      columns: by name, `[N]`: text, int64 and float64 (NaN where null); docs/linking.md describes each.
      about: the metadata, likewise.
    """

    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["identity"])

    def row(self, number: int) -> dict[str, Any]:
        """Return every column of one tracklet, as plain Python values."""
        return {name: values[number].item() for name, values in self.columns.items()}

    def tracklets(self) -> list[Key]:
        """Return N tracklets, each the path of its gallery and its name."""
        return list(zip(self.columns["gallery"].tolist(), self.columns["tracklet_id"].tolist(), strict=True))

    def members(self) -> dict[int, np.ndarray]:
        """Return the rows of every identity, unknown tracklets left out, by its number, in ascending order."""
        identity = self.columns["identity"]
        order = np.argsort(identity, kind="stable")
        numbers, starts = np.unique(identity[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(numbers) else []
        return {int(number): rows for number, rows in zip(numbers, parts, strict=True) if number != UNKNOWN}

    def without(self, keys: Collection[tuple[str, str]]) -> Identities:
        """Return the identities without the rows of some tracklets, each the path of its gallery and its name."""
        stays = np.array([key not in keys for key in self.tracklets()], bool)
        return Identities({name: values[stays] for name, values in self.columns.items()}, self.about)

    def moved(self, source: Path, target: Path) -> Identities:
        """Return identities of a file in the folder `source` as one in the folder `target` states them."""
        paths = {
            each["path"]: relative_to(stated_gallery(source, each["path"]), target) for each in self.about["galleries"]
        }
        gallery = np.array([paths[path] for path in self.columns["gallery"].tolist()], str)
        galleries = [{**each, "path": paths[each["path"]]} for each in self.about["galleries"]]
        return Identities({**self.columns, "gallery": gallery}, {**self.about, "galleries": galleries})

    def with_names(self, names: Mapping[Key, Key]) -> Identities:
        """Return the identities with other names of some tracklets, each with the path of its gallery, which stays."""
        changed = np.array([names.get(key, key)[1] for key in self.tracklets()], str)
        return Identities({**self.columns, "tracklet_id": changed}, self.about)

    def new_names(self, gallery: str, columns: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Return the new names of the tracklets of a folder whose names were changed, by the old ones.

        In a folder a name begins with the file and a digest of it and of its moment, so a corrected start, or a file that was
        moved, changes all names of a recording. One whose names are gone is the only new one of that file name of which all
        times are shifted by one constant that cannot be chance and the cameras agree as for `replaced`.

        Args:
          gallery: as the column `gallery` names it.
          columns: `tracklet_id`, `camid`, `start_seconds` and `end_seconds` [N] of the gallery as it is now.
        """
        here = np.flatnonzero(self.columns["gallery"] == gallery)
        before = _by_recording(self.columns["tracklet_id"][here].tolist())
        now = _by_recording(columns["tracklet_id"].tolist())
        new: dict[str, list[str]] = {}
        for recording in now.keys() - before.keys():
            new.setdefault(source_name(recording), []).append(recording)
        gone = [(one, other) for one in before.keys() - now.keys() for other in new.get(source_name(one), ())]
        found = []
        for one, other in gone:
            if shared := before[one].keys() & now[other].keys():
                rows, places = here[[before[one][name] for name in shared]], [now[other][name] for name in shared]
                then, times = (
                    np.stack([each[name][at] for name in SECONDS], 1)
                    for each, at in ((self.columns, rows), (columns, places))
                )
                certain = _tell_apart(then[~np.isnan(times).any(1)]) and _same_times(then, times, one_clock=True)
                if certain and _same_cameras(then, self.columns["camid"][rows], columns["camid"][places]):
                    found.append((one, other))
        counts = collections.Counter(each for pair in found for each in pair)
        only = [(one, other) for one, other in found if counts[one] == counts[other] == 1]
        return {f"{one}{name}": f"{other}{name}" for one, other in only for name in before[one]}

    def replaced(self, gallery: str, columns: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> list[str]:
        """Return the tracklets of a gallery that were linked and are not those that it has under their names now.

        A gallery may have been made anew, of another recording, at the path of the one that was linked. A recording is the
        same if its tracklets have their cameras and times, whichever model embedded them, or if all times are shifted by
        one constant, or one camera is another one, as when its start or camera was corrected. What is not known contradicts
        nothing. Otherwise all tracklets of the recording are others, those that it no longer has as well. In a folder the
        names say which recording a tracklet is of.

        Args:
          gallery: as the column `gallery` names it.
          columns: `tracklet_id`, `camid`, `start_seconds` and `end_seconds` [N] of the gallery as it is now.
          about: its metadata.
        """
        here = np.flatnonzero(self.columns["gallery"] == gallery)
        linked = self.columns["tracklet_id"][here].tolist()
        recordings = [_recording(name) for name in linked]
        place_of = {name: place for place, name in enumerate(columns["tracklet_id"].tolist())}
        both: dict[str, list[tuple[int, int]]] = {}  # row and place of what either knows, by recording
        for row, name, recording in zip(here.tolist(), linked, recordings, strict=True):
            if name in place_of:
                both.setdefault(recording, []).append((row, place_of[name]))
        stated = about.get("recorded_at") if self.about["clock"] == UNIX else None
        moment = datetime.fromisoformat(stated).timestamp() if stated else 0.0
        others = set()
        for recording, pairs in both.items():
            rows, places = np.array(pairs).T
            before = np.stack([self.columns[name][rows] for name in SECONDS], 1)
            now = np.stack([columns[name][places] for name in SECONDS], 1) + moment
            # The clock of a folder may begin anew as files come and go: of one tracklet only the length is known then.
            same = _same_times(before, now, one_clock=bool(stated) or not recording)
            if not (same and _same_cameras(before, self.columns["camid"][rows], columns["camid"][places])):
                others.add(recording)
        return [name for name, recording in zip(linked, recordings, strict=True) if recording in others]

    def refuse_replaced(
        self, file: Path, shown: Path | str, gallery: str, columns: Mapping[str, np.ndarray], about: Mapping[str, Any]
    ) -> None:
        """Raise `InputError` when `replaced` or `new_names` return any tracklets; `file`: of the identities, `shown`: the gallery."""
        if renamed := self.new_names(gallery, columns):
            raise InputError(
                f"{shown} has other names for {len(renamed)} tracklets that were linked, as after their --start was corrected: "
                f"link it again with --into={file}"
            )
        if others := self.replaced(gallery, columns, about):
            raise InputError(
                f"{shown} is another recording than the one that was linked, by the cameras and times of the tracklets, of "
                f"which {len(others)} were linked: link it again with --into={file}"
            )

    def summary(self) -> dict[str, int]:
        """Return how many `identities` there are, how many `across_cameras`, and how many tracklets are `unknown`."""
        members = self.members()
        gallery = np.unique(self.columns["gallery"], return_inverse=True)[1].reshape(-1)
        camera = np.where(self.columns["camid"] > 0, self.columns["camid"], -1 - gallery)
        return {
            "identities": len(members),
            "across_cameras": sum(len(np.unique(camera[rows])) > 1 for rows in members.values()),
            "unknown": int((self.columns["identity"] == UNKNOWN).sum()),
        }


def write_identities(identities: Identities, path: Path) -> None:
    """Write a file of identities in one piece, over one that is there.

    Raises:
      InputError: when the system refuses.
    """
    pa = pyarrow()
    arrays = {}
    for name, kind in _kinds().items():
        values = identities.columns[name]
        missing = np.isnan(values) if name in OPTIONAL else None
        arrays[name] = pa.array(values.tolist() if name in TEXTS else values, kind, mask=missing)
    about = json.dumps({"format": FORMAT, **identities.about})
    table = pa.table(arrays).replace_schema_metadata({KEY: about})
    with atomic_file(path) as half:
        pa.parquet.write_table(table, half, write_page_checksum=True)


def read_identities(path: str | Path) -> Identities:
    """Read a file that `vreid link` wrote.

    Raises:
      InputError: when the file is missing, is not one of identities, or is damaged.
    """
    pa = pyarrow()
    path = given_path(path)
    if not path.exists():
        raise InputError(f"there is no file of identities {path}: make it with `vreid link`")
    check_readable(path)
    try:
        table = pa.parquet.read_table(path, page_checksum_verification=True)
        return _checked(table, (table.schema.metadata or {}).get(KEY, b""), path)
    except (pa.ArrowException, OSError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} cannot be read as a Parquet file: link its galleries again ({line})") from error


def _recording(name: str) -> str:
    """Return what the name of a tracklet in a folder begins with, of which recording it is; of a file it is empty."""
    return name.removesuffix(own_name(name))


def _by_recording(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the places of names, by what they begin with in a folder and by the name in their own file."""
    found: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        found.setdefault(_recording(name), {})[own_name(name)] = place
    return found


def _tell_apart(times: np.ndarray) -> bool:
    """Return whether two of the times `[N, 2]` differ, so that a recording can be known by how they follow each other."""
    known = times[~np.isnan(times).any(1)]
    return len(known) > 1 and bool((np.ptp(known, axis=0) > SAME_MOMENT).any())


def _same_times(before: np.ndarray, now: np.ndarray, *, one_clock: bool) -> bool:
    """Return whether the times `[N, 2]` of tracklets agree, or are shifted by one constant where that cannot be chance."""
    shift = now - before
    if not (np.abs(shift) > SAME_MOMENT).any():
        return True
    known = ~np.isnan(shift).any(1)
    if _tell_apart(before[known]):
        return bool(np.ptp(shift[known]) <= SAME_MOMENT)
    return not one_clock and not (np.abs(shift[:, 1] - shift[:, 0]) > SAME_MOMENT).any()


def _same_cameras(times: np.ndarray, before: np.ndarray, now: np.ndarray) -> bool:
    """Return whether the cameras `[N]` agree, or are one that was corrected: then `times` have to tell tracklets apart."""
    corrected = len(np.unique(before)) == len(np.unique(now)) == 1 and _tell_apart(times)
    return corrected or bool((before == now).all())


def _checked(table, about: bytes, path: Path) -> Identities:
    """Return a table as identities; `InputError` unless it has the columns, types and values of one."""
    if f'"{FORMAT}"'.encode() not in about:
        raise InputError(f"{path} is not a file of identities: make one with `vreid link`")
    try:
        parsed = parse_json(about, _ABOUT, "its metadata")
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; link its galleries again") from error
    columns = {}
    for name, kind in _kinds().items():
        found = table.schema.get_all_field_indices(name)
        if len(found) != 1 or table.schema.field(found[0]).type != kind:
            raise InputError(f"{path} is damaged: it needs one column {name} of type {kind}; link its galleries again")
        column = table.column(name)
        column.validate(full=True)
        if column.null_count and name not in OPTIONAL:
            raise InputError(f"{path} is damaged: it has a row without {name}; link its galleries again")
        columns[name] = np.array(column.to_pylist(), str) if name in TEXTS else column.to_numpy()
    walks_of(parsed.get("walks", []), f"{path} is damaged")
    paths = [each["path"] for each in parsed["galleries"]]
    confidence = columns["confidence"]
    sound = (
        parsed["metric"] in METRICS
        and parsed["clock"] in (UNIX, COMMON)
        and set(columns["gallery"].tolist()) <= set(paths)
        and (columns["identity"] >= 0).all()
        and (columns["identity"] < parsed["next_identity"]).all()
        and parsed.get("corrections", 0) >= 0
        and ((confidence >= 0) & (confidence <= 1)).all()
        and len(set(zip(columns["gallery"].tolist(), columns["tracklet_id"].tolist(), strict=True))) == table.num_rows
    )
    if not sound:
        raise InputError(f"{path} is damaged: its columns and its metadata contradict each other; link again")
    return Identities(columns, {key: value for key, value in parsed.items() if key != "format"})


def _kinds() -> dict[str, Any]:
    """Return the Arrow type of every column, in their order."""
    pa = pyarrow()
    kinds = {
        **dict.fromkeys(TEXTS, pa.string()),
        **dict.fromkeys(NUMBERS, pa.int64()),
        **dict.fromkeys(FRACTIONS, pa.float64()),
    }
    order = "gallery tracklet_id identity name confidence distance rival rival_distance camid start_seconds end_seconds"
    return {name: kinds[name] for name in order.split()}
