"""Embed an archive of videos: a file of rows for each part of a video, whatever is repeated or lost on the way."""

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vreid_jax.archives.manifest import Video, read_manifest
from vreid_jax.archives.parts import EMPTY, FAILED, JOB, ArchiveSettings, Part, parts_of, source_of
from vreid_jax.archives.pictures import all_pictures, remove_pictures
from vreid_jax.archives.store import Store
from vreid_jax.archives.work import Done, fail
from vreid_jax.errors import InputError
from vreid_jax.files import UNFINISHED, remove_unfinished
from vreid_jax.inference import Model
from vreid_jax.json_files import json_or_none
from vreid_jax.search.address import is_address
from vreid_jax.tracking.detectors import make_detector

UNREADABLE = "unreadable"  # in place of the content's digest
_THREADS = 16  # that look at videos before anything is started
_FILE = re.compile(
    rf"(?:camera=\d+/date=[\d-]+|{EMPTY}|{FAILED})/([0-9a-f]+)-([0-9a-f]+|{UNREADABLE})\.(?:parquet|json)"
)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Archived:
    """What `embed_archive` did.

    Attributes:
      videos: number of videos in the manifest.
      parts: number of parts that were made now, with rows.
      tracklets: number of their rows.
      before: number of parts that were there already, or that another run has made meanwhile.
      empty: number of parts without a tracklet, now or before.
      replaced: number of files that were removed, of videos that have changed since.
      failed: what is set aside, now or before, as `{"video", "begin", "why"}`; `begin` is null for a whole video.
    """

    videos: int
    parts: int
    tracklets: int
    before: int
    empty: int
    replaced: int
    failed: tuple[dict[str, Any], ...]


def embed_archive(
    manifest: str,
    out: str,
    model: Model,
    make: Callable[[Sequence[Part], Store], Iterator[Done]],
    settings: ArchiveSettings | None = None,
    *,
    retry_failed: bool = False,
    progress: bool = False,
) -> Archived:
    """Embed every video of a manifest into files of rows, `OUT/camera=…/date=…/….parquet`.

    Each file is a gallery as `embed_gallery` writes it and appears in one piece under a name made of what its rows are
    made from. So repeating the call does what is missing, and a part that two workers make is there once. What cannot be
    made is set aside, in `OUT/_failed/`, with the sentence that says why.

    Args:
      manifest: table of videos (`manifest.read_manifest`).
      out: folder, or `s3://…` or `gs://…`; it is new, or holds an archive of the same model and settings.
      model: model to embed with.
      make: makes parts and yields what became of each, in any order (`engine.make_on_ray`).
      settings: what all parts have in common.
      retry_failed: try again what an earlier call has set aside.
      progress: whether to show a bar, and each failure beside it.

    Raises:
      InputError: when the manifest is not right, or `out` cannot be written or holds something else.
    """
    settings = settings or ArchiveSettings()
    videos = read_manifest(manifest)
    if not all(video.tracks for video in videos):
        make_detector(settings.detector)  # what is wrong with it is said before anything is written
    store = Store.at(out)
    names, pictures = store.names(), all_pictures(settings)
    _claim(store, names, model, settings)
    found = _Found.among(names)
    plan, unreadable = _plan(videos, model, settings, store, progress)
    todo, before, empty, failed = [], 0, 0, [*unreadable]
    for part in _distinct(plan):
        if part.content in found.rows:
            before += 1
        elif part.content in found.empty:
            empty += 1
        elif part.content in found.failed and not retry_failed:
            failed.append(Done(part, "failed", why=_why(store, found.failed[part.content])))
        else:
            todo.append(part)
    made: list[Done] = []
    with tqdm(total=len(todo), desc="embedding", unit=" parts", disable=not progress, dynamic_ncols=True) as bar:
        for done in make(todo, store) if todo else ():
            made.append(done)
            bar.update()
            if done.state == "failed" and progress:
                bar.write(f"set aside: {done.part}: {done.why}", file=sys.stderr)
    finished = [done for done in made if done.state == "finished"]
    failed += [done for done in made if done.state == "failed"]
    # What is left of videos as they were before; one that is set aside keeps it.
    whole = {part.source for part in plan} - {done.part.source for done in failed}
    current = {part.content for part in plan}
    with_rows = found.rows.keys() | {done.part.content for done in made if done.state in ("finished", "found")}
    kept = current & with_rows
    for source, content, folder in sorted(pictures):
        if source in whole and content not in kept:
            remove_pictures(folder, store)
    return Archived(
        videos=len(videos),
        parts=len(finished),
        tracklets=sum(done.tracklets for done in finished),
        before=before + sum(done.state == "found" for done in made),
        empty=empty + sum(done.state == "empty" for done in made),
        replaced=_remove_replaced(store, names, whole, current),
        failed=tuple({"video": done.part.video.address, "begin": done.part.begin, "why": done.why} for done in failed),
    )


@dataclasses.dataclass(frozen=True)
class _Found:
    """What lies in an archive: the names of its files, by the digest of what they were made from."""

    rows: dict[str, str]
    empty: dict[str, str]
    failed: dict[str, str]

    @classmethod
    def among(cls, names: set[str]) -> "_Found":
        kinds: dict[str, dict[str, str]] = {EMPTY: {}, FAILED: {}}
        rows: dict[str, str] = {}
        for name in names:
            if match := _FILE.fullmatch(name):
                kinds.get(name.partition("/")[0], rows)[match[2]] = name
        return cls(rows, kinds[EMPTY], kinds[FAILED])


def _claim(store: Store, names: set[str], model: Model, settings: ArchiveSettings) -> None:
    """Check that an archive is one of this model and these settings, and note them in a new one."""
    job = {"fingerprint": model.fingerprint, "model": model.name, **dataclasses.asdict(settings)}
    content = store.read(JOB) if JOB in names else None
    if content is None and any(not name.endswith(UNFINISHED) for name in names):
        raise InputError(f"{store.address} holds other files: name a new folder for the archive")
    if content is None:
        store.write(JOB, json.dumps(job, indent=1).encode())
        return
    known = json_or_none(content)
    if not isinstance(known, dict):
        raise InputError(f"{store.address}/{JOB} is damaged: name a new folder for the archive")
    for field, value in job.items():
        if known.get(field) != value:
            raise InputError(
                f"{store.address} is an archive with {field}={known.get(field)!r}, and this one has {field}={value!r}: "
                "name another folder"
            )
    if not is_address(store.address):
        remove_unfinished(Path(store.address))


def _plan(
    videos: list[Video], model: Model, settings: ArchiveSettings, store: Store, progress: bool
) -> tuple[list[Part], list[Done]]:
    """Return the parts of all videos, and the failures of those that cannot be read."""

    def look(video: Video) -> list[Part] | str:
        try:
            return parts_of(video, model.fingerprint, settings)
        except InputError as error:
            return str(error)

    parts: list[Part] = []
    failed: list[Done] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = tqdm(pool.map(look, videos), "looking at videos", len(videos), disable=not progress, leave=False)
        for video, found in zip(videos, looked, strict=True):
            if isinstance(found, str):
                failed.append(fail(store, Part(video, None, source_of(video), UNREADABLE), found, settings))
            else:
                parts += found
    return parts, failed


def _distinct(plan: list[Part]) -> list[Part]:
    """Return a plan without the parts of videos that are copies of another, of the same camera and moment."""
    first: dict[str, Part] = {}
    for part in plan:
        if first.setdefault(part.content, part) is not part:
            log.warning("%s is a copy of %s and embedded once", part, first[part.content])
    return list(first.values())


def _why(store: Store, name: str) -> str:
    about = json_or_none(store.read(name) or b"")
    return str(about.get("why", "")) if isinstance(about, dict) else ""


def _remove_replaced(store: Store, names: set[str], whole: set[str], current: set[str]) -> int:
    """Remove what was made of the videos of some sources as they were before they changed."""
    removed = 0
    for name in sorted(names):
        match = _FILE.fullmatch(name)
        if match and match[1] in whole and match[2] not in current:
            store.remove(name)
            removed += name.endswith(".parquet")
    return removed
