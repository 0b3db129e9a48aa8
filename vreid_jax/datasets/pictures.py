"""Checks that an encoded frame is a complete JPEG or PNG."""

import cv2
import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png")

_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def fault(data: bytes) -> str | None:
    """Return what is wrong with an encoded picture, as the end of a sentence ("is cut short"), or None.

    OpenCV silently fills the missing part of a truncated JPEG with grey, hence the search for the end marker.
    """
    if not data:
        return "is not a readable image (empty file)"
    if data.startswith(_JPEG):
        whole = data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)
    elif data.startswith(_PNG):
        whole = _PNG_END in data[-64:]
    else:
        return "is not a readable image (neither JPEG nor PNG)"
    if not whole:
        return "is not a readable image (cut short)"
    # JPEG can be decoded at an eighth of its size: the whole file is parsed, and little of it is computed.
    mode = cv2.IMREAD_REDUCED_GRAYSCALE_8 if data.startswith(_JPEG) else cv2.IMREAD_GRAYSCALE
    if cv2.imdecode(np.frombuffer(data, np.uint8), mode) is None:
        return "is not a readable image (it does not decode)"
    return None
