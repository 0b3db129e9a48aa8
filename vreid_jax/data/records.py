"""Where the frames lie in a record: read once from its wire format, so that a few of them can be taken out later."""

from collections.abc import Iterator

import numpy as np

from vreid_jax.errors import InputError

FRAMES = b"frames"  # the feature's name
_BYTES = 2  # the wire type of what has a length: texts, bytes, messages
_FIXED = {1: 8, 5: 4}  # the lengths of numbers of fixed size, by wire type


def frame_positions(record: bytes) -> np.ndarray:
    """Return start and length of each frame in a serialised `tf.train.Example`, `[T, 2]` int64.

    The message is nested as `Example.features.feature["frames"].bytes_list.value`, every one of them field 1 of the
    one around it but the value of a map's entry, which is field 2.

    Raises:
      InputError: if the record is not such a message, or has no frames.
    """
    try:
        for start, end in _messages(record, 0, len(record), 1):
            for entry in _messages(record, start, end, 1):
                ((key, key_end),) = _messages(record, *entry, 1)
                if record[key:key_end] == FRAMES:
                    ((feature, feature_end),) = _messages(record, *entry, 2)
                    ((values, values_end),) = _messages(record, feature, feature_end, 1)
                    found = [(at, stop - at) for at, stop in _messages(record, values, values_end, 1)]
                    return np.array(found, np.int64).reshape(-1, 2)
    except (IndexError, ValueError) as error:
        raise InputError("a record of the dataset is damaged: build the dataset again") from error
    raise InputError("a record of the dataset has no frames: build the dataset again")


def take_frames(record: bytes, positions: np.ndarray) -> list[bytes]:
    """Return frames of a record by their `positions` `[N, 2]`.

    Raises:
      InputError: where no frame of that length begins, since the positions are of another record.
    """
    frames: list[bytes] = []
    for start, length in positions.tolist():
        head = b"\x0a" + _varint_of(length)
        if record[max(0, start - len(head)) : start] != head or start + length > len(record):
            raise InputError("a record of the dataset is not the one that was indexed: remove its index-*.npz")
        frames.append(record[start : start + length])
    return frames


def _messages(data: bytes, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of what the fields of a number hold, in the message that lies from `start` to `end`."""
    while start < end:
        tag, start = _varint(data, start)
        kind = tag & 7
        if kind == _BYTES:
            length, start = _varint(data, start)
            if start + length > end:
                raise ValueError("a field that is longer than its message")
            if tag >> 3 == number:
                yield start, start + length
            start += length
        elif kind in _FIXED:
            start += _FIXED[kind]
        elif kind == 0:
            _, start = _varint(data, start)
        else:
            raise ValueError("a wire type that does not exist")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number in groups of seven bits, the lowest first; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varint_of(value: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
