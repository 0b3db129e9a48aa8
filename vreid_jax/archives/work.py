"""The work on one part: its video is tracked, cut and embedded as `vreid embed` does, and its file is written."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from vreid_jax.archives.parts import ArchiveSettings, Part
from vreid_jax.archives.pictures import disown, own, pictures_of
from vreid_jax.archives.store import Store, fetch
from vreid_jax.datasets.video.track_file import NobodyFound
from vreid_jax.errors import InputError, Interrupted
from vreid_jax.files import remove_unfinished_of
from vreid_jax.inference import Model
from vreid_jax.search.embedding import about_gallery, chunks, embed_rows
from vreid_jax.search.gallery import pyarrow
from vreid_jax.search.sources import open_source
from vreid_jax.tracking.run import track_video

State = Literal["finished", "found", "empty", "failed"]


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a part.

    Attributes:
      part: the part.
      state: `finished` with rows, `found` where another run was faster, `empty` without rows, or `failed`.
      tracklets: number of rows.
      why: of a failed one, the sentence.
    """

    part: Part
    state: State
    tracklets: int = 0
    why: str = ""


class Worker:
    """A model that makes parts, one at a time."""

    def __init__(self, model: Model, store: Store, settings: ArchiveSettings):
        self._model, self._store, self._settings = model, store, settings

    def make(self, part: Part) -> Done:
        """Make a part and write its file, or the record that it is empty, or that it failed and why.

        What another run has made of it meanwhile stays as it is: somebody may have been forgotten there. Whatever is
        wrong with a video stays with its part.

        Raises:
          InputError: when the archive cannot be written.
          Interrupted: when the process is asked to stop.
        """
        if there := self._found(part):
            return there
        notes: list[Path] = []  # that this attempt left with the part's pictures
        try:
            tables = self._rows(part, notes)
        except NobodyFound as error:
            set_aside(self._store, part, part.empty, str(error))
            self._store.remove(part.failed)
            return Done(part, "empty")
        except Interrupted:
            raise
        except Exception as error:  # a stranger's file may raise anything: one of ten thousand must not end the others
            why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            for note in notes:
                disown(note)
            return self._found(part) or fail(self._store, part, why, self._settings)
        with self._store.held(part.name):
            there = self._found(part)
            if there is None:
                self._store.write(part.name, as_parquet(tables))
        self._store.remove(part.failed)
        if there is None:
            return Done(part, "finished", sum(map(len, tables)))
        for note in notes:
            disown(note)
        return there

    def _found(self, part: Part) -> Done | None:
        """Return what another run has made of a part, or None.

        The file is looked for first: when all who are in it are forgotten, the record is written before it goes.
        """
        if self._store.has(part.name):
            return Done(part, "found")
        return Done(part, "empty") if self._store.has(part.empty) else None

    def _rows(self, part: Part, notes: list[Path]) -> list:
        """Return the rows of a part as Arrow tables, blocks of those that were embedded at once."""
        video = part.video
        with tempfile.TemporaryDirectory(prefix="vreid-archive-") as folder:
            scratch = Path(folder)
            local = fetch(video.address, scratch)
            tracks = scratch / "tracks.txt"
            if video.tracks:
                (scratch / "given").mkdir()
                tracks = fetch(video.tracks, scratch / "given")
            else:
                track_video(os.fspath(local), tracks, detector=self._settings.detector, model=self._model)
            kept = pictures_of(part.name, self._settings)
            found = kept is not None and kept.exists()
            source = open_source(
                os.fspath(local),
                tracks=os.fspath(tracks),
                frames=kept or scratch / "frames",
                camera=video.camera,
                begin=range(*part.begin) if part.begin else None,
            )
            source = dataclasses.replace(source, name=video.address)
            if kept is not None:
                notes.append(own(kept, self._store, cut=not found))
            else:
                source = dataclasses.replace(source, folders=np.full(len(source.tracklets), ""))
            about = about_gallery(self._model, source, video.start, self._settings.retention_days)
            return [embed_rows(self._model, source, rows, about) for rows in chunks(len(source.tracklets))]


def as_parquet(tables: list):
    """Return tables of one schema as an Arrow buffer that holds a Parquet file, a row group for each."""
    pa = pyarrow()
    sink = pa.BufferOutputStream()
    with pa.parquet.ParquetWriter(sink, tables[0].schema, write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def fail(store: Store, part: Part, why: str, settings: ArchiveSettings) -> Done:
    """Set a part aside with the sentence that says why; unfinished pictures that killed processes have left go.

    Raises:
      InputError: when the archive cannot be written.
    """
    why = " ".join(why.split()) or "it failed"
    set_aside(store, part, part.failed, why)
    if folder := pictures_of(part.name, settings):
        remove_unfinished_of(folder)
    return Done(part, "failed", why=why)


def set_aside(store: Store, part: Part, name: str, why: str) -> None:
    """Write the record of a part that has no file."""
    about = {"video": part.video.address, "begin": part.begin, "why": why}
    store.write(name, json.dumps(about, indent=1).encode())
