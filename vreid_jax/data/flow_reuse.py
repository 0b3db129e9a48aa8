"""Flow that is there already: the same frames in another split, or in another division of the same data."""

# NumPy leaves the type of some results unknown.
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from vreid_jax.data.flow_files import read_encoded
from vreid_jax.data.source import TrackletSource
from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file

SUFFIX = ".frames.json"  # beside a file of flow: the digest of each of its tracklets


def frames_digest(source: TrackletSource, row: int, method: str, version: int) -> str:
    """Return a digest of what the flow of a tracklet depends on: its frames as they are stored, and how it is computed."""
    digest = hashlib.sha256(f"{version}\0{method}\0".encode())
    for frame in source.encoded(row, np.arange(source.num_frames[row])):
        digest.update(len(frame).to_bytes(8, "little") + frame)
    return digest.hexdigest()


def write_digests(path: Path, digests: list[str]) -> None:
    """Keep the digests of the tracklets of a file of flow beside it."""
    with atomic_file(path.with_suffix(SUFFIX)) as half:
        half.write_text(json.dumps(digests))


@dataclasses.dataclass(frozen=True)
class KnownFlow:
    """Where the flow of tracklets lies, by their digest: a file and a number in it."""

    places: dict[str, tuple[Path, int]]

    @classmethod
    def beside(cls, source: TrackletSource) -> KnownFlow:
        """Find the flow of all splits of a dataset, and of the datasets beside it, as its other divisions are."""
        places: dict[str, tuple[Path, int]] = {}
        root, version = source.folder.parent.parent, source.folder.name
        for kept in sorted(root.glob(f"*/{version}/flow/*/*{SUFFIX}")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                path = kept.with_name(kept.name.removesuffix(SUFFIX) + ".flow")
                places |= {digest: (path, number) for number, digest in enumerate(json.loads(kept.read_text()))}
        return cls(places)

    def read(self, digest: str) -> list[bytes] | None:
        """Return the encoded fields of a tracklet, None where they are not known, or not there any more."""
        if digest not in self.places:
            return None
        with contextlib.suppress(InputError, OSError):
            return read_encoded(*self.places[digest])
        return None
