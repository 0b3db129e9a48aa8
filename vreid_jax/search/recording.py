"""When a video was recorded, so that galleries of several cameras share one clock."""

import datetime
import re
import time
from collections.abc import Iterable

from vreid_jax.errors import InputError

# From 1973 to tomorrow, or of a clock of its own; another number is more likely a date, as 20260302, or a year.
_SECONDS = re.compile(r"\d{9,11}(\.\d{0,6})?|0|\d{1,7}\.\d{0,6}", re.ASCII)
_A_DAY = 86_400
_WHAT = (
    "a date and time with its zone, as in 2026-03-02T09:00:00+01:00, or seconds from 1970 to now in at least nine digits "
    "(of a clock of its own: 0, or with a point, as in 12.0)"
)


def moment_text(text: str, flag: str = "--start") -> str:
    """Return a moment that a person gave, as a gallery keeps it: an ISO 8601 date and time with its zone.

    Args:
      text: an ISO 8601 date and time with a zone, or seconds since 1970: 0, at least nine digits, or with a decimal point.
      flag: what it is called in an error.

    Raises:
      InputError: when it is neither, or lacks the zone.
    """
    if _SECONDS.fullmatch(text) and float(text) < time.time() + _A_DAY:  # 2026030209 would be a moment of 2034
        return datetime.datetime.fromtimestamp(float(text), datetime.UTC).isoformat()
    try:
        moment = datetime.datetime.fromisoformat(text)
        with_zone = moment.utcoffset() is not None
        moment.astimezone(datetime.UTC)  # the first and last days of the calendar have none there
    except (ValueError, OverflowError):
        raise InputError(f"{flag}={text} is not a moment: give {_WHAT}") from None
    if not with_zone:
        raise InputError(f"{flag}={text} has no zone, and cameras may stand in several: give {_WHAT}")
    return moment.isoformat()


def zone_of(moments: Iterable[object]) -> datetime.timezone:
    """Return the offset in which moments of recordings are shown: the one that all state as their own, else UTC.

    Args:
      moments: as galleries keep them; None, where one does not say, counts for nothing.
    """
    offsets = {datetime.datetime.fromisoformat(str(moment)).utcoffset() for moment in moments if moment}
    common = offsets.pop() if len(offsets) == 1 else None
    return datetime.timezone(common) if common else datetime.UTC


def is_moment(value: object) -> bool:
    """Return whether metadata are a moment as `moment_text` returns it."""
    try:
        return isinstance(value, str) and not _SECONDS.fullmatch(value) and bool(moment_text(value))
    except InputError:
        return False
