"""Checks that an encoded frame is a complete JPEG or PNG."""

import zlib

from vreid_jax.datasets import strict_decoder

SUFFIXES = (".jpg", ".jpeg", ".png")
MOST_PIXELS = 1 << 26  # 8192 x 8192; a small file can state a picture that fills the memory

_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_SIZE = (*range(0xD0, 0xD9), 0x01)  # markers that stand alone
_NOT_A_FRAME = (0xC4, 0xC8, 0xCC)  # among the markers 0xC0 to 0xCF, which otherwise state the size of the picture


def fault(data: bytes) -> str | None:
    """Return what is wrong with an encoded picture, as the end of a sentence ("is cut short"), or None.

    A PNG carries checksums. A JPEG does not: damage is found where libjpeg stumbles over it (see `strict_decoder`), which
    is nearly always for a stretch of zeros, and often not for a single wrong bit.
    """
    if not data:
        return "is not a readable image (empty file)"
    if data.startswith(_JPEG):
        wrong = _fault_of_jpeg(data)
    elif data.startswith(_PNG):
        wrong = _fault_of_png(data)
    else:
        wrong = "neither JPEG nor PNG"
    return f"is not a readable image ({wrong})" if wrong else None


def _fault_of_jpeg(data: bytes) -> str | None:
    # OpenCV silently fills the missing part of a truncated JPEG with grey, hence the search for the end marker.
    if data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN):
        return "cut short"
    return _fault_of_size(_size_of_jpeg(data)) or strict_decoder.damage(data)


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    """Return the height and width that a JPEG states, or None where its markers are damaged."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _NO_SIZE:
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _fault_of_png(data: bytes) -> str | None:
    """Compare the checksum of every chunk, and decode the picture."""
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            return "cut short"
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return "its checksum is wrong"
        if kind == b"IHDR":
            width, height = int.from_bytes(data[at + 8 : at + 12]), int.from_bytes(data[at + 12 : at + 16])
            if wrong := _fault_of_size((height, width)):
                return wrong
        at = end
    return strict_decoder.damage(data)


def _fault_of_size(size: tuple[int, int] | None) -> str | None:
    if size is None or 0 in size:
        return "it does not state its size"
    if size[0] * size[1] > MOST_PIXELS:
        return f"it states {size[1]} x {size[0]} pixels; at most {MOST_PIXELS / 1e6:.0f} million are read"
    return None
