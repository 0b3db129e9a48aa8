"""Thresholds that were measured on a gallery itself, kept in its metadata."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from vreid_jax.errors import InputError

KEY = "calibration"  # in the metadata of a gallery
BAND = 10  # times the rate of "the same person" is that of "perhaps", but at most
WIDEST = 0.1


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds of one gallery, or of several, measured on themselves.

    Attributes:
      false_accept_rate: [R] ascending, in (0, 1); only those that the number of pairs can show.
      threshold: [R] the largest distance within which no larger share of the pairs of two people lies.
      low: [R] lower ends of the 95 % intervals of the thresholds.
      high: [R] upper ends.
      true_accept_rate: [R] share of the pairs of one person within each `low`, estimated from pieces of tracklets; None
        where these were not measured.
      metric: of the distances.
      pairs: of tracklets that were seen at the same time.
      tracklets: that have a part in these pairs.
      pieces: tracklets of which pieces were compared; 0: of none.
      drift: squared distance that was added to that of pieces.
    """

    false_accept_rate: tuple[float, ...]
    threshold: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    true_accept_rate: tuple[float | None, ...]
    metric: str
    pairs: int
    tracklets: int
    pieces: int = 0
    drift: float = 0.0

    def as_metadata(self) -> dict[str, Any]:
        """Return the calibration as the metadata of a gallery state it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    def place(self, false_accept_rate: float) -> int:
        """Return the place of the largest rate that does not exceed the one asked for.

        Raises:
          InputError: when there is none.
        """
        usable = [n for n, rate in enumerate(self.false_accept_rate) if rate <= false_accept_rate]
        if not usable:
            known = ", ".join(f"{rate:g}" for rate in self.false_accept_rate)
            raise InputError(
                f"the footage was too short to measure a threshold for a false-accept rate of {false_accept_rate}; the "
                f"rates are {known}"
            )
        return usable[-1]

    def perhaps(self, place: int) -> float:
        """Return up to which distance two tracklets are perhaps one person.

        It is that of `BAND` times the rate but of at most `WIDEST`, or the upper end of the interval if that is larger.
        """
        rate = self.false_accept_rate[place]
        beyond = self.place(max(rate, min(BAND * rate, WIDEST)))
        return max(self.threshold[beyond], self.high[place])


def is_calibration(value: Any) -> bool:
    """Return whether metadata state a calibration, or none."""
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) != {field.name for field in dataclasses.fields(Calibration)}:
        return False
    lists = [value[name] for name in ("false_accept_rate", "threshold", "low", "high", "true_accept_rate")]
    if not all(isinstance(each, list) and each for each in lists) or len({len(each) for each in lists}) != 1:
        return False
    rates = lists[0]
    return (
        all(_is_number(each) for some in lists[:4] for each in some)
        and all(each is None or (_is_number(each) and 0 <= each <= 1) for each in lists[4])
        and all(0 < rate < 1 for rate in rates)
        and rates == sorted(set(rates))
        and isinstance(value["metric"], str)
        and all(isinstance(value[name], int) and value[name] >= 0 for name in ("pairs", "tracklets", "pieces"))
        and _is_number(value["drift"])
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_calibration(about: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration that the metadata of a gallery state, or None."""
    stated = about.get(KEY)
    if stated is None:
        return None
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stated.items()}
    return Calibration(**values)
