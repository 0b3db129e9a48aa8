"""What a person corrected of identities: merges, splits and names, in a file beside the identities."""

import dataclasses
import itertools
import json
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file, given_path, only_process
from vreid_jax.json_files import read_json
from vreid_jax.search.address import is_address, stated_gallery

FORMAT = "vreid_jax-corrections-1"
SUFFIX = ".corrections.json"
KINDS = ("same", "different", "name")
LONGEST_NAME = 200  # letters
MOST = 100_000  # corrections of a file

Key = tuple[str, str]
"""A tracklet: path of its gallery as in the identities, and its `tracklet_id`."""

_PAIRS = [[str]]
_SHAPE = {
    "format": str,
    "corrections": [{"kind": str, "tracklets": _PAIRS, "others?": _PAIRS, "name?": str, "at": str}],
}


@dataclasses.dataclass(frozen=True)
class Correction:
    """One decision of a person.

    Attributes:
      kind: "same" merges: all `tracklets` are one person. "different" splits: none of the `tracklets` is the person of any
        of the `others`. "name" names the identity that holds the `tracklets`.
      tracklets: at least one, of "same" at least two.
      others: of "different", at least one, and none of the `tracklets`.
      name: of "name"; empty removes one.
      at: when it was made, ISO 8601; empty: now.

    Raises:
      InputError: for a field that is not as the kind needs it.
    """

    kind: str
    tracklets: tuple[Key, ...]
    others: tuple[Key, ...] = ()
    name: str = ""
    at: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"a correction is of the kind {self.kind!r}; there are {', '.join(KINDS)}")
        if not self.at:
            object.__setattr__(self, "at", datetime.now(UTC).isoformat(timespec="seconds"))
        try:
            datetime.fromisoformat(self.at)
        except ValueError as error:
            raise InputError(f"at={self.at[:100]!r} of a correction is not a date and time, ISO 8601") from error
        least = {"same": 2, "different": 1, "name": 1}[self.kind]
        if len(set(self.tracklets)) < least:
            raise InputError(f"a correction of the kind {self.kind} names at least {least} tracklets")
        if bool(self.others) != (self.kind == "different"):
            raise InputError("a correction of the kind different, and no other kind, has others")
        if both := set(self.tracklets) & set(self.others):
            raise InputError(f"a correction says that {min(both)[1]} is another person than itself")
        if self.name and self.kind != "name":
            raise InputError(f"a correction of the kind {self.kind} has no name")
        if len(self.name) > LONGEST_NAME or not self.name.isprintable():
            raise InputError(f"the name of a person must be printable and of at most {LONGEST_NAME} letters")

    def says_of(self, there: Collection[Key]) -> bool:
        """Return whether it says anything of tracklets that are there."""
        found = sum(key in there for key in set(self.tracklets))
        others = any(key in there for key in self.others)
        return found >= (2 if self.kind == "same" else 1) and (others or self.kind != "different")


def corrections_path(identities: str | Path) -> Path:
    """Return where the corrections of a file of identities are: for `a/people.parquet`, `a/people.corrections.json`."""
    path = given_path(identities)
    return path.with_name(f"{path.stem}{SUFFIX}")


def read_corrections(identities: str | Path) -> tuple[Correction, ...]:
    """Return the corrections of a file of identities in the order in which they were made; without a file, none.

    Raises:
      InputError: when the file is damaged.
    """
    path = corrections_path(identities)
    if not path.exists():
        return ()
    content = read_json(path, _SHAPE)
    if content["format"] != FORMAT:
        raise InputError(f"{path} is of the format {content['format']!r} and not {FORMAT}: another version wrote it")
    return tuple(_parsed(entry, path, number) for number, entry in enumerate(content["corrections"]))


def append_correction(identities: str | Path, correction: Correction) -> Path:
    """Add a correction to those of a file of identities; the next `vreid link --into` respects it.

    Whoever reads meanwhile sees all of the file as it was, or as it is.

    Args:
      identities: the Parquet file; it is not opened.
      correction: what to add.

    Returns:
      The file of corrections.

    Raises:
      InputError: when the file is damaged, full, cannot be written, or another process is just writing it.
    """
    path = corrections_path(identities)
    lock = path.with_name(f".{path.name}.lock")
    with only_process(lock, f"another process is just writing {path}: try again"):
        known = read_corrections(identities)
        if len(known) >= MOST:
            raise InputError(f"{path} holds {MOST:,} corrections already: begin a new file of identities")
        with atomic_file(path) as half:
            half.write_text(_text([*known, correction]), encoding="utf-8")
    return path


def set_aside(identities: str | Path, keys: Collection[Key]) -> Path | None:
    """Take tracklets out of the corrections of a file of identities as `remove_tracklets` does, and keep what is lost.

    Returns:
      The new file that holds every correction that was changed or removed, as it was; None when there was none. For
      `a/people.parquet` it is `a/people.corrections.replaced.json`, or `a/people.corrections.replaced-2.json` and so on.

    Raises:
      InputError: as `append_correction`.
    """
    return _take_out(identities, keys, keep=True)[1]


def remove_tracklets(identities: str | Path, keys: Collection[Key]) -> int:
    """Take tracklets out of the corrections of a file of identities; what then says nothing is removed.

    Returns:
      How many corrections were changed or removed.

    Raises:
      InputError: as `append_correction`.
    """
    return _take_out(identities, keys, keep=False)[0]


def _take_out(identities: str | Path, keys: Collection[Key], *, keep: bool) -> tuple[int, Path | None]:
    """Return how many corrections were changed or removed, and where they are kept as they were."""
    path = corrections_path(identities)
    if not path.exists():
        return 0, None
    copy = None
    keys = set(keys)
    with only_process(path.with_name(f".{path.name}.lock"), f"another process is just writing {path}: try again"):
        known = read_corrections(identities)
        kept = without_tracklets(known, keys)
        changed = [each for each in known if keys & {*each.tracklets, *each.others}]
        if changed and keep:
            ends = itertools.chain(["replaced"], (f"replaced-{number}" for number in itertools.count(2)))
            places = (path.with_suffix(f".{end}.json") for end in ends)
            copy = next(place for place in places if not os.path.lexists(place))
            with atomic_file(copy) as half:
                half.write_text(_text(changed), encoding="utf-8")
        if changed and kept:
            with atomic_file(path) as half:
                half.write_text(_text(kept), encoding="utf-8")
        elif changed:
            path.unlink()
    return len(changed), copy


def rename_tracklets(identities: str | Path, names: Mapping[Key, Key]) -> None:
    """Give tracklets other names in the corrections of a file of identities.

    Raises:
      InputError: as `append_correction`.
    """
    path = corrections_path(identities)
    if not names or not path.exists():
        return
    with only_process(path.with_name(f".{path.name}.lock"), f"another process is just writing {path}: try again"):
        changed = [with_names(each, names) for each in read_corrections(identities)]
        with atomic_file(path) as half:
            half.write_text(_text(changed), encoding="utf-8")


def with_names(correction: Correction, names: Mapping[Key, Key]) -> Correction:
    """Return a correction with other names of some tracklets."""
    tracklets, others = (
        tuple(names.get(key, key) for key in keys) for keys in (correction.tracklets, correction.others)
    )
    return dataclasses.replace(correction, tracklets=tracklets, others=others)


def without_tracklets(corrections: Sequence[Correction], keys: Collection[Key]) -> list[Correction]:
    """Return corrections without some tracklets; what then says nothing is left out."""
    return [left for left in (_without(each, keys) for each in corrections) if left is not None]


def _without(correction: Correction, keys: Collection[Key]) -> Correction | None:
    """Return a correction without some tracklets, or None where nothing is left that it says."""
    tracklets = tuple(key for key in correction.tracklets if key not in keys)
    others = tuple(key for key in correction.others if key not in keys)
    try:
        return dataclasses.replace(correction, tracklets=tracklets, others=others)
    except InputError:
        return None


def write_corrections(identities: str | Path, corrections: Sequence[Correction]) -> None:
    """Write the corrections, if any, of a file of identities that has none yet.

    Raises:
      InputError: when there are some, or the system refuses.
    """
    refuse_corrections(identities)
    if corrections:
        with atomic_file(corrections_path(identities)) as half:
            half.write_text(_text(corrections), encoding="utf-8")


def refuse_corrections(identities: str | Path) -> None:
    """Raise `InputError` when there are corrections where those of a new file of identities will be."""
    path = corrections_path(identities)
    if path.exists():
        raise InputError(f"{path} exists already: name another file of identities, or remove it")


def moved(correction: Correction, source: Path, target: Path) -> Correction:
    """Return a correction whose paths of galleries are relative to another folder."""

    def keys(some: tuple[Key, ...]) -> tuple[Key, ...]:
        return tuple((relative_to(stated_gallery(source, gallery), target), name) for gallery, name in some)

    return dataclasses.replace(correction, tracklets=keys(correction.tracklets), others=keys(correction.others))


def relative_to(path: Path | str, folder: Path) -> str:
    """Return how a file of identities in a folder names a gallery: by its path relative to it, with `/`, or by its address."""
    if is_address(os.fspath(path)):
        return os.fspath(path)
    return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).as_posix()


def _parsed(entry: dict, path: Path, number: int) -> Correction:
    try:
        tracklets, others = (_keys(entry.get(name, [])) for name in ("tracklets", "others"))
        return Correction(entry["kind"], tracklets, others, entry.get("name", ""), entry["at"])
    except InputError as error:
        raise InputError(f"{path} is damaged: corrections[{number}]: {error}") from error


def _keys(pairs: Sequence[Sequence[str]]) -> tuple[Key, ...]:
    if any(len(pair) != 2 for pair in pairs):
        raise InputError("a tracklet is [GALLERY, TRACKLET_ID]")
    return tuple((gallery, name) for gallery, name in pairs)


def _text(corrections: Sequence[Correction]) -> str:
    entries = []
    for each in corrections:
        fields = {key: value for key, value in dataclasses.asdict(each).items() if value or key == "name"}
        if each.kind != "name":
            del fields["name"]
        entries.append(fields)
    return json.dumps({"format": FORMAT, "corrections": entries}, indent=1, ensure_ascii=False)
