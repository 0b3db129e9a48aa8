import functools
import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest

from vreid_jax.datasets.walkers.people import FASTEST, SLOWEST
from vreid_jax.datasets.walkers.plan import make_plan
from vreid_jax.datasets.walkers.walkers_dataset_builder import CONFIGS, Builder


@functools.cache
def _plan(name):
    return make_plan(CONFIGS[name])


def _by_pid(tracklets):
    groups = defaultdict(list)
    for t in tracklets:
        groups[t.pid].append(t)
    return groups


@pytest.mark.parametrize("name", CONFIGS)
def test_the_promised_share_of_identities_are_twins(name):
    plan, size = _plan(name), CONFIGS[name]
    in_pairs = [pid for pair in plan.twins for pid in pair]
    assert len(set(in_pairs)) == len(in_pairs) == 2 * (size.test_identities // 4)
    assert {len(group) for group in plan.twin_groups} == {size.gaits_per_outfit}
    assert (
        abs(size.gaits_per_outfit * len(plan.twin_groups) - size.train_twin_share * size.train_identities)
        < size.gaits_per_outfit
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_twins_share_everything_but_their_dynamics(name):
    plan = _plan(name)
    train, test = _by_pid(plan.train), _by_pid(plan.test)
    for tracklets, groups in ((train, plan.twin_groups), (test, plan.twins)):
        for group in groups:
            cameras = [[t.camid for t in tracklets[pid]] for pid in group]
            assert all(c == cameras[0] for c in cameras)
            assert len({t.outfit for pid in group for t in tracklets[pid]}) == 1
            assert len({round(abs(plan.gaits[pid].arm_offset), 9) for pid in group}) == 1
    for a, b in plan.twins:
        low, high = sorted((plan.gaits[a].frequency, plan.gaits[b].frequency))
        assert low >= SLOWEST
        assert 2.1 * low <= high <= FASTEST * (1 + 1e-9)
        assert plan.gaits[a].arm_offset == -plan.gaits[b].arm_offset
    for group in plan.twin_groups:
        frequencies = np.sort([plan.gaits[pid].frequency for pid in group])
        assert (frequencies[1:] / frequencies[:-1] >= {2: 2.1, 4: 1.39, 8: 1.15}[len(group)]).all()


def test_which_twin_is_faster_is_not_in_the_order_of_pids():
    faster = [plan.gaits[a].frequency > plan.gaits[b].frequency for plan in map(_plan, CONFIGS) for a, b in plan.twins]
    assert 0.35 < np.mean(faster) < 0.65


@pytest.mark.parametrize("name", CONFIGS)
def test_test_identities_and_clothes_are_not_those_of_training(name):
    plan = _plan(name)
    assert not {t.pid for t in plan.train} & {t.pid for t in plan.test}
    assert not {t.outfit for t in plan.train} & {t.outfit for t in plan.test}
    assert min(t.pid for t in plan.train) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_query_has_one_tracklet_for_each_identity_and_camera(name):
    plan = _plan(name)
    asked = Counter((t.pid, t.camid) for t in plan.query)
    assert set(asked.values()) == {1}
    assert set(asked) == {(t.pid, t.camid) for t in plan.test if t.pid > 0}
    assert set(plan.query) <= set(plan.test)
    # Every query has a right answer under another camera.
    assert min(len({t.camid for t in own}) for pid, own in _by_pid(plan.test).items() if pid > 0) >= 2


def test_distractors_and_junk_are_in_the_gallery():
    size, count = CONFIGS["small"], Counter(t.pid for t in _plan("small").test)
    assert (count[0], count[-1]) == (size.distractors, size.junk) == (32, 16)


def test_mars_scale_has_as_many_tracklets_as_mars():
    plan = _plan("mars_scale")
    assert (len(plan.train), len(plan.test)) == (8298, 12180)
    assert Counter(t.pid for t in plan.test)[0] == 3248
    assert Counter(t.pid for t in plan.test)[-1] == 870
    assert len({t.pid for t in plan.test if t.pid > 0}) == 634
    lengths = np.array([t.length for t in (*plan.train, *plan.test)])
    assert lengths.sum() > 1_000_000
    assert 55 < lengths.mean() < 62


@pytest.mark.parametrize("name", CONFIGS)
def test_lengths_are_within_bounds_with_a_long_tail(name):
    size = CONFIGS[name]
    lengths = np.array([t.length for t in _plan(name).train])
    assert lengths.min() >= size.shortest
    assert lengths.max() <= size.longest
    assert lengths.mean() > np.median(lengths)


@pytest.mark.parametrize("name", CONFIGS)
def test_tracklet_ids_are_unique(name):
    plan = _plan(name)
    ids = [t.tracklet_id for t in plan.train + plan.test]
    assert len(set(ids)) == len(ids)


def test_the_plan_belongs_to_the_version():
    plan = _plan("tiny")
    content = [(t.pid, t.camid, t.length, t.outfit, t.occluded, t.crossed, t.lost) for t in plan.train + plan.test]
    content += [(pid, round(gait.frequency, 6), round(gait.arm_offset, 6)) for pid, gait in plan.gaits.items()]
    digest = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
    # A new digest needs a new version: without it, copies built earlier would be taken for the new dataset.
    assert (str(Builder.VERSION), digest) == ("1.0.0", "efc588fc9b41")


def test_a_plan_is_a_function_of_its_size_alone():
    make_plan.cache_clear()
    assert make_plan(CONFIGS["tiny"]) == _plan("tiny")
