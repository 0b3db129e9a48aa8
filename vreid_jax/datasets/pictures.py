"""What a stored frame must be: a whole JPEG or PNG."""

import cv2
import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png")

_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def fault(data: bytes) -> str | None:
    """What is wrong with an encoded picture, as the end of a sentence ("is cut short"); None for a whole one.

    OpenCV fills the missing part of a truncated JPEG with grey and says nothing, so its end is looked for.
    """
    if not data:
        return "is not a readable image (empty file)"
    if data.startswith(_JPEG):
        whole = data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)
    elif data.startswith(_PNG):
        whole = _PNG_END in data[-64:]
    else:
        return "is not a readable image (no JPEG, no PNG)"
    if not whole:
        return "is not a readable image (cut short)"
    # An eighth of the size, which JPEG can do: the whole file is parsed, and little of it computed.
    way = cv2.IMREAD_REDUCED_GRAYSCALE_8 if data.startswith(_JPEG) else cv2.IMREAD_GRAYSCALE
    if cv2.imdecode(np.frombuffer(data, np.uint8), way) is None:
        return "is not a readable image (it does not decode)"
    return None
