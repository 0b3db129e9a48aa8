"""Numbers on a command line."""

import argparse
import re

_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.ASCII | re.IGNORECASE)


def whole(text: str) -> int:
    """Return a whole number; unlike `int`, do not take `1_000` for one, which may be a slip."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def decimal(text: str) -> float:
    """Return a number; unlike `float`, do not take `0_1`, `nan` or `inf` for one."""
    if not _DECIMAL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return float(text)
