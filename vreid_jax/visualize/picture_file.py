"""Write pictures to files, whole or not at all."""

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from vreid_jax.errors import InputError
from vreid_jax.files import atomic_file


def write_picture(path: str | os.PathLike, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an RGB picture.

    Args:
      path: file to write; its suffix, `.png` or `.jpg`, says which format.
      picture: the picture.

    Raises:
      InputError: when the picture cannot be encoded or the file cannot be written.
    """
    encoded, data = cv2.imencode(Path(path).suffix, np.ascontiguousarray(picture[..., ::-1]))
    if not encoded:
        raise InputError(f"OpenCV cannot encode the picture {path}: show less in it, or name a .png")
    with atomic_file(path) as half:
        half.write_bytes(data.tobytes())
