"""The optical flow of a split, computed in parts: which folder is its, how large it will be, and one of its files."""

# NumPy leaves the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import hashlib
from pathlib import Path

import numpy as np

from vreid_jax.data.flow_files import FlowPart, encode_field, flow_parts, num_fields, write_part
from vreid_jax.data.flow_reuse import KnownFlow, frames_digest, write_digests
from vreid_jax.data.optical_flow import flow_fields
from vreid_jax.data.source import TrackletSource
from vreid_jax.errors import InputError

VERSION = 1  # of what is stored for the same frames
FOLDER = "flow"  # below that of the dataset
_SAMPLE = 16  # tracklets from which the size is estimated
_SAMPLE_FRAMES = 6
_MARGIN = 1.2


def flow_folder(source: TrackletSource, method: str) -> Path:
    """Return the folder of a split's flow: its name changes with the content of the split's records."""
    identity = hashlib.sha256(repr((VERSION, source.content_digest())).encode()).hexdigest()[:16]
    return source.folder / FOLDER / f"{source.split}-{method}-{identity}"


def missing_parts(source: TrackletSource, folder: Path) -> list[FlowPart]:
    """Return the parts of a split's flow that are not there yet."""
    return [part for part in flow_parts(source.num_frames) if not part.path(folder).exists()]


def expected_bytes(source: TrackletSource, method: str, parts: list[FlowPart]) -> int:
    """Return about how many bytes these parts will take, from the flow of a few tracklets."""
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    sizes: list[int] = []
    for row in rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int)].tolist():
        frames = source.read(row, np.arange(min(_SAMPLE_FRAMES, int(source.num_frames[row]))))
        sizes += [len(encode_field(field)) for field in flow_fields(frames, method)]
    return int(_MARGIN * float(np.mean(sizes)) * int(num_fields(source.num_frames[rows]).sum()))


def build_part(source: TrackletSource, folder: Path, method: str, known: KnownFlow, part: FlowPart) -> str:
    """Compute and write the flow of a part; return what is wrong with its tracklets, "" for nothing.

    What is `known` is copied. What is wrong is a value, since it has to come back from another process.
    """
    digests, tracklets = [], []
    try:
        for row in range(part.start, part.stop):
            digests.append(frames_digest(source, row, method, VERSION))
            fields = known.read(digests[-1])
            if fields is None:
                frames = source.read(row, np.arange(source.num_frames[row]))
                fields = [encode_field(field) for field in flow_fields(frames, method)]
            tracklets.append(fields)
        write_digests(part.path(folder), digests)
        write_part(part.path(folder), tracklets)
    except InputError as error:
        return str(error)
    return ""
