"""One identity for a person's tracklets: the story of `vreid link`."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid_jax.errors import InputError
from vreid_jax.linking.agglomeration import Centres, agglomerate
from vreid_jax.linking.band import Band
from vreid_jax.linking.constraints import OUTSIDE, Partition, clockwork
from vreid_jax.linking.corrections import Correction, Key, relative_to, with_names, without_tracklets
from vreid_jax.linking.decisions import Near, confidence, leave_open, look_again, settle
from vreid_jax.linking.distances import from_squared, to_squared
from vreid_jax.linking.history import History, told_by_people
from vreid_jax.linking.identities import UNKNOWN, Identities
from vreid_jax.linking.neighbourhood import Neighbours, pairs_within
from vreid_jax.linking.sightings import Sightings
from vreid_jax.linking.walking import Walk, tables_of

log = logging.getLogger(__name__)

Tell = Callable[[str, int, int], object]
"""Is told what is being done, how much of it is done, and how much there is of it."""


@dataclasses.dataclass(frozen=True)
class LinkSettings:
    """How tracklets are linked.

    Attributes:
      no_overlap: whether nobody can be in two cameras at once.
      walks: what is known of the ways between cameras.
    """

    no_overlap: bool = False
    walks: tuple[Walk, ...] = ()


def link(
    sightings: Sightings,
    folder: Path,
    band: Band,
    settings: LinkSettings | None = None,
    *,
    corrections: Sequence[Correction] = (),
    earlier: Identities | None = None,
    tell: Tell = lambda what, done, total: None,
) -> Identities:
    """Give every tracklet the number of a person, or of nobody where it cannot be decided.

    The same arguments give the same identities.

    Args:
      sightings: N tracklets.
      folder: of the file of identities, to which its paths of galleries are relative.
      band: distances up to which two tracklets are, and perhaps are, of one person.
      settings: default: cameras may overlap, and nothing is known of the ways between them.
      corrections: of a person, which hold whatever the distances are.
      earlier: identities of some of the tracklets, which stay as they are but for the corrections. Those of a gallery that
        was made anew of another recording do not count, nor do corrections of them; the `renamed_tracklets` of both do.
      tell: is called as the work goes on.

    Raises:
      InputError: when `earlier` was made by another model, or has no gallery in common with the sightings.
    """
    settings = settings or LinkSettings()
    names = gallery_names(sightings, folder)
    history = _remembered(sightings, folder, corrections, earlier)
    clock = clockwork(sightings, no_overlap=settings.no_overlap, walks=settings.walks)
    partition = Partition(clock, history.apart)
    centres = Centres(sightings.vectors)
    limit, perhaps = (to_squared(each, sightings.metric) for each in (band.threshold, band.perhaps))

    for group, label in history.groups:
        for row in group[1:]:
            kept, gone = sorted((int(partition.cluster[group[0]]), int(partition.cluster[row])))
            if kept != gone:
                partition.merge(kept, gone)
                centres.merge(kept, gone)
        if label:
            partition.labels[partition.cluster[group[0]]] = label
    fixed = history.fixed
    free = np.flatnonzero(~history.labelled)
    pairs, _ = pairs_within(
        sightings.vectors,
        band.perhaps,
        sightings.metric,
        clock.fitting,
        first=free,
        tell=lambda rows: tell("distances", rows, len(free)),
    )
    neighbours = Neighbours(pairs, len(sightings))
    agglomerate(partition, centres, neighbours, limit, lambda done: tell("links", done, len(free)))
    seen = settle(partition, centres, neighbours, fixed)
    open_rows = leave_open(partition, centres, seen, fixed, limit, perhaps)
    seen = look_again(partition, centres, neighbours, seen, open_rows)
    for row, cluster in open_rows.items():
        seen[row] = Near(np.nan, cluster, float(centres.squared_of_row(row, np.array([cluster]), OUTSIDE)[0]))
    identity, next_identity = _numbered(partition, open_rows, sightings, history)
    columns = {
        "gallery": np.array([names[gallery] for gallery in sightings.gallery], str),
        "tracklet_id": sightings.tracklet_ids,
        "identity": identity,
        "name": history.names_of(identity),
        **_judged(partition, seen, identity, history, band.threshold, sightings.metric),
        "camid": sightings.camids,
        "start_seconds": sightings.times[:, 0],
        "end_seconds": sightings.times[:, 1],
    }
    about = _about(sightings, names, band, settings, next_identity)
    return Identities(columns, {**about, "corrections": len(corrections)})


def gallery_names(sightings: Sightings, folder: Path) -> list[str]:
    """Return how a file of identities in a folder names the galleries: by their paths relative to it."""
    return [relative_to(path, folder) for path in sightings.paths]


def replaced_tracklets(sightings: Sightings, folder: Path, earlier: Identities) -> list[Key]:
    """Return the tracklets that `earlier`, in a folder, has of recordings in whose place others are now.

    With them those that their galleries no longer have: who comes under such a name is somebody new as well.
    """
    return [
        (name, each)
        for number, name in enumerate(gallery_names(sightings, folder))
        for each in earlier.replaced(name, sightings.columns_of(number), sightings.about[number])
    ]


def renamed_tracklets(sightings: Sightings, folder: Path, earlier: Identities) -> dict[Key, Key]:
    """Return how tracklets that `earlier`, in a folder, has of recordings whose names were changed are called now."""
    return {
        (name, one): (name, other)
        for number, name in enumerate(gallery_names(sightings, folder))
        for one, other in earlier.new_names(name, sightings.columns_of(number)).items()
    }


def _remembered(
    sightings: Sightings, folder: Path, corrections: Sequence[Correction], earlier: Identities | None
) -> History:
    names = gallery_names(sightings, folder)
    if earlier is not None and earlier.about["fingerprint"] != sightings.about[0]["fingerprint"]:
        raise InputError(
            f"the identities are of model {earlier.about['fingerprint']} ({earlier.about['model']}), and "
            f"{sightings.paths[0]} of {sightings.about[0]['fingerprint']}: link galleries of one model"
        )
    rows: dict[Key, int] = {
        (names[int(gallery)], str(name)): row
        for row, (gallery, name) in enumerate(
            zip(sightings.gallery.tolist(), sightings.tracklet_ids.tolist(), strict=True)
        )
    }
    if earlier is None:
        return told_by_people(rows, corrections)
    renamed = renamed_tracklets(sightings, folder, earlier)
    earlier, corrections = earlier.with_names(renamed), [with_names(each, renamed) for each in corrections]
    replaced = set(replaced_tracklets(sightings, folder, earlier))
    for path, name in zip(sightings.paths, names, strict=True):
        if count := sum(key[0] == name for key in replaced & rows.keys()):
            log.warning(
                "%s is another recording than the one that was linked: what was known of %d of its tracklets does not count",
                path,
                count,
            )
    if gone := sorted(set(earlier.tracklets()) - rows.keys() - replaced):
        log.warning(
            "%s no longer has %s, as %d of the tracklets that were linked are gone: these leave the identities",
            *gone[0],
            len(gone),
        )
    return told_by_people(rows, without_tracklets(corrections, replaced), earlier.without(replaced))


def _numbered(
    partition: Partition, open_rows: dict[int, int], sightings: Sightings, history: History
) -> tuple[np.ndarray, int]:
    """Return [N] the numbers of the identities, known ones first, new ones by when they are first seen, and the next."""
    identity = np.full(len(sightings), UNKNOWN, np.int64)
    new = []
    for cluster, rows in partition.members.items():
        if len(rows) == 1 and int(rows[0]) in open_rows:
            continue
        if label := int(partition.labels[cluster]):
            identity[rows] = label
            continue
        starts = sightings.times[rows, 0]
        first = float(np.nanmin(starts)) if not np.isnan(starts).all() else np.inf
        new.append((first, int(rows.min()), rows))
    number = history.next_identity
    for _, _, rows in sorted(new, key=lambda each: each[:2]):
        identity[rows] = number
        number += 1
    return identity, number


def _judged(
    partition: Partition, seen: Sequence[Near], identity: np.ndarray, history: History, threshold: float, metric: str
) -> dict[str, np.ndarray]:
    """Return the columns that say how sure every tracklet is, and who comes second."""
    number_of = {cluster: int(identity[rows[0]]) for cluster, rows in partition.members.items()}
    own = from_squared(np.array([near.own for near in seen]), metric)
    own[identity == UNKNOWN] = np.nan
    rival = np.array([number_of.get(near.rival, UNKNOWN) for near in seen], np.int64)
    second = from_squared(np.array([near.rival_squared for near in seen]), metric)
    second[rival == UNKNOWN] = np.inf
    there = set(identity.tolist())
    for row, (number, distance) in history.rivals.items():
        if distance < second[row] and number in there and number != identity[row] != UNKNOWN:
            rival[row], second[row] = number, distance
    sure = np.array([confidence(mine, other, threshold) for mine, other in zip(own, second, strict=True)])
    sure[history.decided] = 1.0
    sure[identity == UNKNOWN] = 0.0
    return {
        "confidence": sure,
        "distance": own,
        "rival": rival,
        "rival_distance": np.where(np.isfinite(second), second, np.nan),
    }


def _about(
    sightings: Sightings, names: Sequence[str], band: Band, settings: LinkSettings, next_identity: int
) -> dict[str, Any]:
    """Return the metadata of the file of identities."""
    about, rows = sightings.about[0], np.bincount(sightings.gallery, minlength=len(names)).tolist()
    return {
        "fingerprint": about["fingerprint"],
        "model": about["model"],
        "metric": about["metric"],
        "galleries": [{"path": name, "rows": count} for name, count in zip(names, rows, strict=True)],
        "clock": sightings.clock,
        "threshold": band.threshold,
        "perhaps": band.perhaps,
        "threshold_from": band.origin,
        "no_overlap": settings.no_overlap,
        "walks": tables_of(settings.walks),
        "next_identity": next_identity,
    }
