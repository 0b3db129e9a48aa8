"""Reading of tables of whole numbers from MATLAB files of version 5, which MATLAB writes by default.

SciPy reads more kinds of them, and damaged ones bring the process down.
"""

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.errors import InputError

_LARGEST = 2**53  # up to here every whole number is a float of its own
_MOST_BYTES = 1 << 28  # of an unpacked table
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, and whole numbers of 8 to 64 bits
_COMPLEX = 0x800


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A variable of a file; `values` is None where it holds something other than real numbers."""

    name: str
    values: np.ndarray | None


def read_table(files: ManualFiles, path: str, key: str) -> np.ndarray:
    """Return the table `key` of a `.mat` file, as int64.

    Raises:
      InputError: the file is not a MATLAB file of version 5, has no such table, or it holds other than whole numbers.
    """
    where = files.where(path)
    try:
        found = {variable.name: variable.values for variable in _variables(files.read(path))}
    except InputError:
        raise
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{where} is not a readable MATLAB file of version 5 ({error}); fetch it again") from error
    if key not in found:
        raise InputError(f"{where} has no table {key}, only {', '.join(sorted(found)) or 'nothing'}; fetch it again")
    table = found[key]
    if (
        table is None
        or not table.size
        or not np.all((table == np.rint(table)) & (table > -_LARGEST) & (table < _LARGEST))
    ):
        raise InputError(f"{where}: the table {key} must hold whole numbers; fetch it again")
    return table.astype(np.int64)


def _variables(content: bytes) -> Iterator[_Variable]:
    """Yield the variables of a file."""
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("it has another beginning")
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(data, _MOST_BYTES)
            if not unpacker.eof:
                raise ValueError("what is compressed in it is cut short, or too large")
            yield from (_variable(inner, order) for kind, inner in _elements(unpacked, order) if kind == _MATRIX)
        elif kind == _MATRIX:
            yield _variable(data, order)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of the elements that follow each other; those of up to four bytes lie in their tags."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        begin = at + 8
        if kind >> 16:
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            at = begin + size + (0 if kind == _COMPRESSED else -size % 8)
        if begin + size > len(data):
            raise ValueError("it is cut short")
        yield kind, data[begin : begin + size]


def _variable(data: bytes, order: str) -> _Variable:
    """Return the variable that an element of type matrix holds: flags, extents, name, values."""
    parts = list(_elements(data, order))
    if len(parts) < 3:
        raise ValueError("a variable in it is cut short")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{order}i4").tolist()
    name = parts[2][1].decode("latin-1")
    if flags & 0xFF not in _NUMERIC_CLASSES or flags & _COMPLEX or len(parts) != 4 or parts[3][0] not in _NUMBERS:
        return _Variable(name, None)
    values = np.frombuffer(parts[3][1], order + _NUMBERS[parts[3][0]])
    if len(shape) < 2 or min(shape) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"the table {name} is not of its size")
    return _Variable(name, values.reshape(shape, order="F"))
