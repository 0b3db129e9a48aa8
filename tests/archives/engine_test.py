"""How parts are spread over workers that may be lost, with a Ray of this file; tests/archives/ray_test.py has the real one."""

from types import SimpleNamespace

import pytest

from vreid_jax.archives import engine
from vreid_jax.archives.manifest import Video
from vreid_jax.archives.parts import Part
from vreid_jax.archives.work import Done
from vreid_jax.errors import InputError


class Gone(Exception):
    """Ray's error for an actor that is gone."""


class Raised(Exception):
    """Ray's error for a call that raised."""

    def __init__(self, cause):
        self.cause = cause


class Ray:
    """Actors that make one part after another; `poison` ends its actor, as does the first try of what is in `lost`."""

    exceptions = SimpleNamespace(RayError=Gone, RayTaskError=Raised)

    def __init__(self, lost=(), poison=(), stillborn=0, error=None):
        self.lost, self.poison, self.stillborn, self.error = set(lost), set(poison), stillborn, error
        self.started, self.made, self.most = 0, [], 0

    def start(self):
        self.started += 1
        number = self.started
        ready = SimpleNamespace(remote=lambda: ("ready", number, None))
        return SimpleNamespace(ready=ready, make=SimpleNamespace(remote=lambda part: ("make", number, part)))

    def wait(self, calls, timeout):
        self.most = max(self.most, len(calls))
        return calls[:1], calls[1:]

    def get(self, call):
        what, number, part = call
        if what == "ready":
            if number <= self.stillborn:
                raise Gone("it died\n  RuntimeError: no room\n")
            return None
        self.made.append(part)
        if self.error:
            raise Raised(self.error)
        if part in self.poison or part in self.lost:
            self.lost.discard(part)
            raise Gone
        return Done(part, "finished", 1)

    def kill(self, actor):
        raise Gone  # it is gone already


PARTS = [Part(Video(f"/v{number}.avi", 1, "2026-03-02T09:00:00+00:00"), None, "a", f"{number}") for number in range(6)]


def spread(ray, wanted=2):
    return list(engine._spread(ray, ray.start, lambda: wanted, PARTS))


def test_each_part_is_made_once_by_no_more_workers_than_there_may_be():
    ray = Ray()
    assert sorted(part.content for part, done in spread(ray) if done) == [part.content for part in PARTS]
    assert (len(ray.made), ray.started, ray.most) == (6, 2, 2)
    assert Ray().started == 0
    many = Ray()
    spread(many, wanted=100)
    assert many.started <= len(PARTS)


def test_what_a_lost_worker_had_is_made_by_another():
    ray = Ray(lost=PARTS[1:3])
    assert {part for part, done in spread(ray) if done} == set(PARTS)
    assert (len(ray.made), ray.started) == (8, 4)


def test_a_part_that_ends_three_workers_is_given_up_and_takes_no_other_with_it():
    ray = Ray(poison=[PARTS[0]])
    found = dict(spread(ray))
    assert found[PARTS[0]] is None
    assert all(found[part] for part in PARTS[1:])
    assert ray.made.count(PARTS[0]) == 3
    assert ray.made[-1] == PARTS[0]  # the others come first


def test_workers_that_cannot_start_end_the_run():
    assert len(spread(Ray(stillborn=2), wanted=1)) == 6
    with pytest.raises(RuntimeError, match="no worker can start: RuntimeError: no room"):
        spread(Ray(stillborn=3), wanted=1)


@pytest.mark.parametrize("error", [InputError("no room"), RuntimeError("no\nroom")])
def test_what_a_worker_raises_ends_the_run(error):
    kind = InputError if isinstance(error, InputError) else RuntimeError
    with pytest.raises(kind, match="room"):
        spread(Ray(error=error))


def test_machines_that_are_to_come_are_waited_for(monkeypatch):
    ray, asked, slept = Ray(), [], []
    monkeypatch.setattr(engine.time, "sleep", slept.append)

    def wanted():
        asked.append(1)
        return 0 if len(asked) < 3 else 1

    assert len(list(engine._spread(ray, ray.start, wanted, PARTS))) == 6
    assert slept == [engine._POLL] * 2
