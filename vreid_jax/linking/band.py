"""Up to which distance two tracklets are linked, and up to which they may be one person: given, measured or of the model."""

import dataclasses

from vreid_jax.errors import InputError
from vreid_jax.linking.calibrating import RATES, measure
from vreid_jax.linking.sightings import Sightings
from vreid_jax.search.calibration import read_calibration
from vreid_jax.search.ranked import decision

WIDTH = 1.25  # times a threshold that was given is that of "perhaps"


@dataclasses.dataclass(frozen=True)
class Band:
    """Two distances in the metric of the galleries.

    Attributes:
      threshold: largest mean distance of the tracklets of one person.
      perhaps: up to which they may be one person; not below `threshold`.
      origin: sentence that says where the two come from.
    """

    threshold: float
    perhaps: float
    origin: str


def given_band(threshold: float) -> Band:
    """Return the band around a threshold that a person gives.

    Raises:
      InputError: unless it is positive.
    """
    if not 0 < threshold < float("inf"):
        raise InputError(f"--threshold={threshold:g} must be a distance above 0")
    return Band(threshold, WIDTH * threshold, f"a threshold of {threshold:g} was given")


def find_band(sightings: Sightings, false_accept_rate: float, *, no_overlap: bool = False) -> Band:
    """Return the band that galleries have, or that their own footage gives.

    Galleries that `vreid calibrate` has calibrated, all of them, have one if that goes down to the rate: the narrowest counts.
    Else it is measured on all of them together; where there are too few pairs to show the rate, the threshold is below the nearest of them. Else
    thresholds that hold for this footage by the model's own evaluation serve.

    Args:
      sightings: tracklets of the galleries.
      false_accept_rate: largest share of the pairs of two people within the threshold, in (0, 0.5].
      no_overlap: whether nobody can be in two cameras at once.

    Raises:
      InputError: when there is none of these, or the rate is not one.
    """
    if not 0 < false_accept_rate <= RATES[-1]:
        raise InputError(f"--false-accept-rate={false_accept_rate:g} must be above 0 and at most {RATES[-1]}")
    stored = [read_calibration(about) for about in sightings.about]
    calibrations = [each for each in stored if each is not None and each.metric == sightings.metric]
    if len(calibrations) == len(stored) and all(
        each.false_accept_rate[0] <= false_accept_rate for each in calibrations
    ):
        places = [each.place(false_accept_rate) for each in calibrations]
        threshold, number = min(
            (each.threshold[place], n) for n, (each, place) in enumerate(zip(calibrations, places, strict=True))
        )
        own, place = calibrations[number], places[number]
        return Band(
            threshold, own.perhaps(place), _measured(own.false_accept_rate[place], own.pairs, "by `vreid calibrate`")
        )
    try:
        own = measure(sightings, false_accept_rate, no_overlap=no_overlap, shown=False)
    except InputError as error:
        rules = [decision(about, false_accept_rate) for about in sightings.about]
        known = [rule.threshold for rule in rules if rule is not None]
        if len(known) == len(rules):
            return Band(min(known), WIDTH * min(known), "it was measured when the model was evaluated, on this dataset")
        raise InputError(f"{error}, or give the largest distance of one person with --threshold") from error
    place = own.place(false_accept_rate)
    return Band(own.threshold[place], own.perhaps(place), _measured(false_accept_rate, own.pairs, "here"))


def _measured(rate: float, pairs: int, where: str) -> str:
    nearer = f"{100 * rate:g} %" if rate * pairs >= 1 else "none"
    return f"{nearer} of {pairs} pairs of tracklets seen at the same time are nearer, as measured {where}"
