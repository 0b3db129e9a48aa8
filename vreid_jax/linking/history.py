"""What is decided before any distance is looked at: earlier identities, and the corrections of a person."""

import dataclasses
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from vreid_jax.linking.corrections import Correction, Key
from vreid_jax.linking.identities import UNKNOWN, Identities


@dataclasses.dataclass(frozen=True)
class History:
    """What is known of N tracklets.

    Attributes:
      groups: rows that are one person, each with the number of the identity that this person is, or 0.
      apart: pairs of rows of two people.
      fixed: [N] whether a row stays with its group.
      labelled: [N] whether a row is of an earlier identity.
      decided: [N] whether a person decided on a row.
      names: (row, name) in the order in which they were given.
      rivals: by row, the identity that came second in the earlier identities, and its distance.
      next_identity: the first number that was never used.
    """

    groups: tuple[tuple[tuple[int, ...], int], ...]
    apart: tuple[tuple[int, int], ...]
    fixed: np.ndarray
    labelled: np.ndarray
    decided: np.ndarray
    names: tuple[tuple[int, str], ...]
    rivals: Mapping[int, tuple[int, float]]
    next_identity: int

    def names_of(self, identity: np.ndarray) -> np.ndarray:
        """Return [N] the name of each row's identity; the last that was given to any tracklet of one holds."""
        called = {int(identity[row]): name for row, name in self.names if identity[row] != UNKNOWN}
        return np.array([called.get(number, "") for number in identity.tolist()], str)


def told_by_people(
    rows: Mapping[Key, int], corrections: Sequence[Correction], earlier: Identities | None = None
) -> History:
    """Return what is known of tracklets.

    Corrections of tracklets that no gallery has any more are passed over. Where two contradict each other, the later one
    holds: they are gone through from the last to the first, and what cannot be true any more is left out.

    Args:
      rows: number of each tracklet.
      corrections: in the order in which they were made.
      earlier: identities of some of the tracklets.
    """
    count = len(rows)
    people = _People(count)
    named: list[tuple[list[int], str]] = []
    leavers: dict[int, set[int]] = {}  # row that is not the person of others, and these
    for correction in reversed(corrections):
        here, others = (
            [rows[key] for key in keys if key in rows] for keys in (correction.tracklets, correction.others)
        )
        if correction.kind == "name":
            named.append((here, correction.name))
        elif correction.kind == "same":
            here.sort(key=leavers.__contains__)  # who is split off later is merged with nobody in place of the others
            for row in here[1:]:
                people.join(here[0], row)
        else:
            for one, other in product(here, others):
                if people.separate(one, other):
                    leavers.setdefault(one, set()).add(other)
    by_hand = np.zeros(count, bool)
    by_hand[[row for group in people.groups() if len(group) > 1 for row in group]] = True
    labels = np.zeros(count, np.int64)
    next_identity = 1
    rivals: dict[int, tuple[int, float]] = {}
    if earlier is not None:
        next_identity = earlier.about["next_identity"]
        rivals = _take_over(rows, earlier, people, leavers, labels)
    groups = []
    for group in people.groups():
        label = min((int(labels[row]) for row in group if labels[row]), default=0)
        if len(group) > 1 or label:
            groups.append((tuple(group), label))
    fixed, labelled = np.zeros(count, bool), np.zeros(count, bool)
    for group, label in groups:
        fixed[list(group)] = True
        labelled[list(group)] = bool(label)
    return History(
        groups=tuple(groups),
        apart=tuple(sorted(people.apart)),
        fixed=fixed,
        labelled=labelled,
        decided=by_hand,
        names=tuple((row, name) for here, name in reversed(named) for row in _holders(here, leavers)),
        rivals=rivals,
        next_identity=next_identity,
    )


def _holders(rows: list[int], leavers: Mapping[int, set[int]]) -> list[int]:
    """Return those of the rows that a name was given to that keep it: who was split off from the others does not."""
    named = set(rows)
    left = [row for row in rows if named.isdisjoint(leavers.get(row, ()))]
    return [row for row in left if row not in leavers] or left


def _take_over(
    rows: Mapping[Key, int], earlier: Identities, people: "_People", leavers: Container[int], labels: np.ndarray
) -> dict[int, tuple[int, float]]:
    """Join the rows of every earlier identity but those that a correction separates from it; return the rivals of rows."""
    keys = earlier.tracklets()
    for number, members in earlier.members().items():
        found = [rows[keys[member]] for member in members if keys[member] in rows]
        staying: list[int] = []
        leaving: list[int] = []
        for row in sorted(found, key=lambda row: (row in leavers, row)):
            if all(people.join(first, row) for first in staying[:1]):
                staying.append(row)
                labels[row] = number
            else:
                leaving.append(row)
        for row in leaving[1:]:  # who left together was one person to the machine, and nobody has denied it
            people.join(leaving[0], row)
    second = zip(keys, earlier.columns["rival"].tolist(), earlier.columns["rival_distance"].tolist(), strict=True)
    return {rows[key]: (number, distance) for key, number, distance in second if key in rows and number != UNKNOWN}


class _People:
    """Rows that are one person, and pairs that are two, as far as both are consistent."""

    def __init__(self, count: int):
        self._first = list(range(count))
        self._members = {row: [row] for row in range(count)}
        self.apart: set[tuple[int, int]] = set()
        self._enemies: dict[int, set[int]] = {}

    def join(self, one: int, other: int) -> bool:
        """Make two rows, and all that are one with them, one person; return whether nothing forbids it."""
        kept, gone = sorted((self._first[one], self._first[other]))
        if kept == gone:
            return True
        if gone in self._enemies.get(kept, ()):
            return False
        for row in self._members[gone]:
            self._first[row] = kept
        self._members[kept] = sorted(self._members[kept] + self._members.pop(gone))
        for enemy in self._enemies.pop(gone, set()):
            self._enemies[enemy].discard(gone)
            self._enemies[enemy].add(kept)
            self._enemies.setdefault(kept, set()).add(enemy)
        return True

    def separate(self, one: int, other: int) -> bool:
        """Make two rows two people; return whether nothing says that they are one."""
        a, b = self._first[one], self._first[other]
        if a == b:
            return False
        self._enemies.setdefault(a, set()).add(b)
        self._enemies.setdefault(b, set()).add(a)
        self.apart.add((min(one, other), max(one, other)))
        return True

    def groups(self) -> Iterator[list[int]]:
        """Yield the rows of every person, in the order of their first."""
        yield from (self._members[first] for first in sorted(self._members))
