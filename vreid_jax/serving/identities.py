"""Who is who: the identities that `vreid link` found, and what people corrected of them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.linking.corrections import Correction, append_correction, corrections_path, read_corrections
from vreid_jax.linking.identities import UNKNOWN, read_identities
from vreid_jax.search.address import real_gallery, stated_gallery
from vreid_jax.search.unchanged import stamps_of, unchanged
from vreid_jax.serving.people import People
from vreid_jax.serving.refusal import Refusal

Key = tuple[str, str]
"""Name of a gallery, and of a tracklet in it."""


class OthersLinked(InputError):
    """A file of identities is of none of the galleries that are served."""


@dataclasses.dataclass(frozen=True)
class Membership:
    """To whom a tracklet was linked.

    Attributes:
      identity: number of the person; 0: nobody is decided on.
      confidence: from 0 to 1.
      rival: number of the person who comes second, or 0.
    """

    identity: int
    confidence: float
    rival: int


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A merge or split that the next `vreid link --into` carries out.

    Attributes:
      kind: "same" or "different".
      tracklets: of whom it speaks.
      others: whom `tracklets` are not, for "different".
      at: when it was made, ISO 8601.
    """

    kind: str
    tracklets: tuple[Key, ...]
    others: tuple[Key, ...]
    at: str


class Identities:
    """A file of identities, as far as it speaks of the galleries that are served.

    Attributes:
      of: membership of every tracklet that was linked.
      members: the tracklets of every identity, by its number.
      names: that people gave, by the number of the identity.
      waiting: corrections that the file does not have in it yet, those of names left out: these hold at once.
    """

    def __init__(self, path: Path, people: People):
        """Read a file and its corrections.

        Args:
          path: the file.
          people: of the galleries that are served.

        Raises:
          OthersLinked: when the identities are of none of the galleries.
          InputError: when one cannot be read, or a gallery is of another recording than the one that was linked.
        """
        self.path, self._read = path, stamps_of([path])
        table = read_identities(path)
        real = {real_gallery(place): name for name, place in people.paths.items()}
        folder = os.path.dirname(os.path.realpath(path))
        self._served = {
            each["path"]: real[place]
            for each in table.about["galleries"]
            if (place := real_gallery(stated_gallery(folder, each["path"]))) in real
        }
        if not self._served:
            raise OthersLinked(f"{path} links other galleries than those that are served: name its galleries")
        for stored, name in self._served.items():
            gallery = people.galleries[name]
            table.refuse_replaced(path, name, stored, gallery.columns, gallery.about)
        self._stored = {name: stored for stored, name in self._served.items()}
        self.of: dict[Key, Membership] = {}
        self.members: dict[int, list[Key]] = {}
        self.names: dict[int, str] = {}
        for number in range(len(table)):
            row = table.row(number)
            if row["gallery"] not in self._served:
                continue
            key = (self._served[row["gallery"]], row["tracklet_id"])
            self.of[key] = Membership(row["identity"], row["confidence"], row["rival"])
            if row["identity"] != UNKNOWN:
                self.members.setdefault(row["identity"], []).append(key)
                if row["name"]:
                    self.names[row["identity"]] = row["name"]
        later = _later(read_corrections(path), table.about.get("corrections"), path)
        self._take_names(later)
        self.waiting = [
            Waiting(each.kind, self._keys(each.tracklets), self._keys(each.others), each.at)
            for each in later
            if each.kind != "name"
        ]

    def title(self, identity: int) -> str:
        """Return what an identity is called."""
        return self.names.get(identity) or f"person {identity}"

    def of_key(self, key: Key) -> Membership | None:
        """Return the membership of a tracklet, None where it was not linked."""
        return self.of.get(key)

    def tracklets(self, identity: int) -> list[Key]:
        """Return the tracklets of an identity; `Refusal` where there is none of that number."""
        if identity not in self.members:
            raise Refusal(404, "There is no identity of that number in the galleries that are served.")
        return self.members[identity]

    def digest(self, identity: int) -> str:
        """Return what changes when an identity gets other tracklets; `Refusal` as `tracklets`."""
        return hashlib.sha256(repr(sorted(self.tracklets(identity))).encode()).hexdigest()[:16]

    def refuse_others(self, identity: int, digest: str) -> None:
        """Raise `Refusal` when an identity has other tracklets than when a page was made, of which this is the digest.

        An empty one, of a program that posts the form by itself, is of what the number means now.
        """
        if digest and self.digest(identity) != digest:
            raise Refusal(409, "The number is of other tracklets now than on the page: reload it, and correct again.")

    def staying(self, identity: int) -> list[Key]:
        """Return the tracklets of an identity that no waiting split takes out of it; `Refusal` as `tracklets`."""
        keys = self.tracklets(identity)
        leaving = {key for each in self.waiting if set(each.others) & set(keys) for key in each.tracklets}
        return [key for key in keys if key not in leaving] or keys

    def correction(self, kind: str, tracklets: Sequence[Key], others: Sequence[Key], name: str) -> Correction:
        """Return a correction as `add` takes it; the arguments are those of `linking.Correction`.

        Raises:
          Refusal: when a tracklet was not linked, or the correction says nothing.
        """
        unknown = next((key for key in (*tracklets, *others) if key not in self.of), None)
        if unknown:
            raise Refusal(409, f"{unknown[1]} is not among the tracklets that were linked.")
        if kind == "name" and tracklets and not any(self.of[key].identity for key in tracklets):
            raise Refusal(
                409, "The tracklets are of nobody yet, who could have a name: merge them and link again first."
            )
        try:
            return Correction(kind, self._as_stored(tracklets), self._as_stored(others), name.strip())
        except InputError as error:  # of the correction, whose sentences name no files
            raise Refusal(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from error

    def add(self, correction: Correction) -> None:
        """Add a correction to the file of corrections; `Refusal` when that cannot be written, or the identities are others."""
        try:
            with unchanged(self._read):  # who has been forgotten since is not named again
                append_correction(self.path, correction)
        except InputError as error:
            raise Refusal(
                503,
                "The correction cannot be written: the identities are being changed, another is being written, or the disk "
                "is full.",
            ) from error

    def _as_stored(self, keys: Sequence[Key]) -> tuple[Key, ...]:
        return tuple((self._stored[gallery], tracklet) for gallery, tracklet in keys)

    def _keys(self, stored: Sequence[Key]) -> tuple[Key, ...]:
        return tuple((self._served[gallery], tracklet) for gallery, tracklet in stored if gallery in self._served)

    def _take_names(self, corrections: Sequence[Correction]) -> None:
        for each in corrections:
            if each.kind == "name":
                for key in self._keys(each.tracklets):
                    if (member := self.of.get(key)) and member.identity != UNKNOWN:
                        self.names[member.identity] = each.name


def open_identities(path: str | Path, people: People) -> Identities:
    """Open a file of identities; `InputError` as `Identities`."""
    return Identities(given_path(path), people)


def files_of(path: str | Path) -> tuple[Path, Path]:
    """Return the files that hold identities: the table and its corrections."""
    return given_path(path), corrections_path(path)


def _later(corrections: Sequence[Correction], taken: int | None, path: Path) -> Sequence[Correction]:
    """Return the corrections that a file of identities does not have in it; `taken`: how many it has."""
    if taken is not None and taken <= len(corrections):
        return corrections[taken:]
    written = int(
        path.stat().st_mtime
    )  # an earlier version wrote it, or corrections were lost: as far as is known, with all
    return [each for each in corrections if _seconds(each.at) >= written]


def _seconds(moment: str) -> float:
    try:
        return datetime.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
