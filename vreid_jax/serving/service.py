"""What all pages and programs of a server share: the people, their pictures, the log, the sessions, the model."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax import inference
from vreid_jax.errors import InputError
from vreid_jax.inference.box import box_fingerprint
from vreid_jax.search.address import is_address, open_place
from vreid_jax.search.ranked import Decision
from vreid_jax.serving.address import Address
from vreid_jax.serving.audit import AuditLog
from vreid_jax.serving.identities import Identities, Key, OthersLinked, files_of, open_identities
from vreid_jax.serving.people import People, open_people
from vreid_jax.serving.pictures import Strips
from vreid_jax.serving.refusal import Refusal
from vreid_jax.serving.searching import Found, Question, Searcher, find
from vreid_jax.serving.sessions import Sessions, User
from vreid_jax.serving.uploads import Part, Upload, UploadedQueries, decode

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to serve, and how.

    Attributes:
      galleries: files that `vreid embed` wrote, all of one model.
      identities: file that `vreid link` wrote, or None.
      address: where to listen.
      audit: file of the audit log; None: beside the first gallery.
      model: of the galleries, as `inference.load` takes it; None: the model in the box, if it made them.
      blur_faces: whether to blur the heads in every picture.
      data_dir: where datasets are, for galleries made from one.
    """

    galleries: Sequence[str | Path]
    identities: str | Path | None = None
    address: Address = dataclasses.field(default_factory=Address)
    audit: str | Path | None = None
    model: str | None = None
    blur_faces: bool = False
    data_dir: str | None = None


class Service:
    """Everything behind the pages; its methods may be called from many threads."""

    def __init__(self, options: Options):
        """Open what is to be served.

        Raises:
          InputError: when a gallery, the identities, the model or the audit log cannot be used.
        """
        self.options = options
        self._lock = threading.Lock()
        self._stamp = _stamp(options.galleries)
        self._people = open_people(options.galleries)
        self._searcher = _searcher(self._people)
        self._fingerprint = self._people.about["fingerprint"]
        self._identities_stamp: Any = self._stamp_of_identities()
        self._identities: Identities | None = None
        if options.identities is not None:
            self._identities = open_identities(options.identities, self._people)
        self._model = self._named_model()
        self._embedding = threading.Lock()
        self.audit = AuditLog(options.audit or _audit_beside(next(iter(self._people.paths.values()))))
        self.sessions = Sessions(options.address.token)
        self.strips = Strips(options.data_dir, options.blur_faces)
        self.uploads = UploadedQueries()

    def people(self) -> People:
        """Return the tracklets of the galleries as they are on the disk now.

        Raises:
          Refusal: when a gallery has changed and cannot be used, or none is left.
        """
        return self._current()[0]

    def _current(self) -> tuple[People, Searcher]:
        with self._lock:
            stamp = _stamp(self.options.galleries)
            if stamp != self._stamp:
                self._reload(stamp)
            if self._searcher is None:
                raise Refusal(503, "The galleries that were served have been forgotten.")
            return self._people, self._searcher

    def _reload(self, stamp: tuple) -> None:
        log.info("a gallery has changed: reading it again")
        try:
            left = [path for path, state in zip(self.options.galleries, stamp, strict=True) if state is not None]
            people = open_people(left) if left else People({}, {})
            if left and people.about["fingerprint"] != self._fingerprint:
                raise InputError(f"{left[0]} is of another model now: start the server again")
        except InputError as error:
            log.error("%s", error)
            raise Refusal(503, "A gallery has changed and cannot be read; the server's own log says why.") from error
        if self._searcher:
            self._searcher.close()
        self._people, self._searcher, self._stamp = people, _searcher(people), stamp
        self.strips.clear()
        self._identities_stamp = None

    def identities(self) -> Identities | None:
        """Return who is who, as the files say now; None where no identities are served, or those that were are forgotten.

        Raises:
          Refusal: when the files have changed and cannot be read.
        """
        if self.options.identities is None:
            return None
        with self._lock:
            stamp = self._stamp_of_identities()
            if stamp != self._identities_stamp:
                try:
                    self._identities = open_identities(self.options.identities, self._people)
                except InputError as error:
                    if not isinstance(error, OthersLinked) and files_of(self.options.identities)[0].exists():
                        log.error("%s", error)
                        raise Refusal(
                            503, "The identities have changed and cannot be read; the server's own log says why."
                        ) from error
                    log.info("%s", error)
                    self._identities = None
                self._identities_stamp = stamp
            return self._identities

    def _stamp_of_identities(self) -> tuple | None:
        named = self.options.identities
        return None if named is None else (_stamp(files_of(named)), self._stamp)

    def search(self, query: Key | np.ndarray, question: Question) -> tuple[People, Decision | None, list[Found]]:
        """Return the people as they are on the disk now, the threshold for a query, and who is nearest to it.

        Args:
          query: the names of a gallery and of a tracklet in it, or the vector `[D]` of somebody else.
          question: how to search.

        Raises:
          Refusal: when there is no such tracklet any more, and as `people`, `People.rule` and `searching.find`.
        """
        people, searcher = self._current()
        asked = people.place(*query) if isinstance(query, tuple) else query
        rule = people.rule(asked if isinstance(asked, int) else None, question.false_accept_rate)
        return people, rule, find(people, searcher, asked, question, rule)

    def log(self, what: str, user: User, **details: Any) -> None:
        """Write to the audit log."""
        self.audit.write(what, user.who, **details)

    def log_look(self, user: User, **details: Any) -> None:
        """Write to the audit log that pictures of somebody are looked at, once a minute."""
        self.audit.write_look(user.who, **details)

    @property
    def takes_uploads(self) -> bool:
        """Whether pictures and videos can be embedded here."""
        return self._model is not None

    def upload(self, content: bytes, part: Part) -> str:
        """Decode and embed a picture or video, and return the name under which it is kept.

        Raises:
          Refusal: when it cannot be.
        """
        if self._model is None:
            raise Refusal(409, "The model that made the galleries was not named, so nothing new can be searched for.")
        frames = decode(content, part)
        with self._embedding:
            vector = self._model.embed(frames)
        if not np.isfinite(vector).all():
            raise Refusal(500, "The model gives no finite numbers for this file.")
        return self.uploads.add(Upload(vector, frames, hashlib.sha256(content).hexdigest()))

    def _named_model(self) -> inference.Model | None:
        """Return the model that made the galleries, or None where it is not known."""
        about = self._people.about
        if self.options.model is None and box_fingerprint() != about["fingerprint"]:
            return None
        model = inference.load(self.options.model)
        if model.fingerprint != about["fingerprint"]:
            raise InputError(
                f"--model={self.options.model} is {model.name} {model.fingerprint}, and the galleries were made by "
                f"{about['model']} {about['fingerprint']}: name the model that made them"
            )
        return model

    def close(self) -> None:
        """End the thread of the searches and close the log."""
        if self._searcher:
            self._searcher.close()
        self.audit.close()


def _searcher(people: People) -> Searcher | None:
    return Searcher(people.resident) if people.resident is not None else None


def _audit_beside(gallery: Path | str) -> Path:
    """Return where the audit log of a gallery is kept unless a file is named; `InputError` for an address."""
    if isinstance(gallery, str):
        raise InputError(f"{gallery} is an address: name the file of the audit log, on this machine, with --audit")
    return gallery.with_name(f"{gallery.name}.audit.jsonl")


def _stamp(paths: Sequence[str | Path]) -> tuple:
    """Return for each path what changes when its file, or a file of its folder, does; None where none is there."""
    return tuple(_state(path) for path in paths)


def _state(path: str | Path) -> tuple | None:
    if is_address(path):
        return ()  # what is in an object store is looked at only once
    try:
        place = open_place(path)
        files = [place.within(name) for name in place.parquet_files()] if place.is_folder else [place]
    except InputError:
        return None
    found = []
    for file in files:
        with contextlib.suppress(OSError):  # it is not there, or has just gone
            state = Path(file.path).stat()
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(found) or None
