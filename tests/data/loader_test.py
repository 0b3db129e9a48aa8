import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vreid_jax import config, losses
from vreid_jax.config import evaluation_stream
from vreid_jax.config.phases import Phase
from vreid_jax.config.run import Stream
from vreid_jax.data import (
    TrackletSource,
    clips_as_evaluated,
    evaluation_items,
    loader,
    num_batches_per_epoch,
    resize,
    split_clips,
    train_batches,
)
from vreid_jax.errors import InputError

SIZE = (32, 16)


@pytest.fixture(scope="module")
def train(tiny_builder):
    return TrackletSource(tiny_builder, "train")


@pytest.fixture(scope="module")
def gallery(tiny_builder):
    return TrackletSource(tiny_builder, "gallery")


def phase(**changes):
    settings = {
        "sampler": "identity",
        "batch_size": 8,
        "identities_per_batch": 4,
        "clip": {"kind": "consecutive", "length": 2, "stride": 1},
        "augment": {"flip": 0.5, "enlarge_crop": 0.5},
    }
    return Phase.parse(config.phase(**{"total_steps": 1, **settings, **changes}))


def batches(source, seed=3, num_batches=6, threads=2, shard=(0, 1), start=0, num_workers=0, **changes):
    return train_batches(
        source,
        phase(**changes),
        size=SIZE,
        seed=seed,
        num_batches=num_batches,
        num_threads=threads,
        num_workers=num_workers,
        start=start,
        shard=shard,
    )


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def clips(kind="all", length=4, num_clips=2, stride=1):
    return Stream.parse(evaluation_stream(kind, length, {}, num_clips, stride), "stream").clip


def test_a_batch_holds_frames_labels_and_where_they_come_from(train):
    batch = next(batches(train))
    assert batch["frames"].shape == (8, 2, *SIZE, 3)
    assert batch["frames"].dtype == np.uint8
    assert {batch[name].dtype for name in ("label", "pid", "camid")} == {np.dtype(np.int32)}
    np.testing.assert_array_equal(np.unique(train.pids)[batch["label"]], batch["pid"])
    assert len(set(batch["pid"])) == 4


def test_frames_are_those_of_the_sampled_tracklet(train):
    batch = next(batches(train, augment={"flip": 0.0, "enlarge_crop": 0.0}))
    rows = loader.make_sampler(train, phase(), 3).batch(0)
    for slot, row in enumerate(rows):
        whole = resize(train.read(int(row), np.arange(train.num_frames[row])), *SIZE)
        starts = [s for s in range(len(whole) - 1) if np.array_equal(whole[s : s + 2], batch["frames"][slot])]
        assert starts, f"slot {slot} is not two adjacent frames of tracklet {row}"
        assert batch["camid"][slot] == train.camids[row]


def test_batch_i_does_not_depend_on_how_the_iteration_came_there(train):
    straight = list(batches(train))
    assert len(straight) == 6
    many_threads = list(batches(train, threads=5, num_batches=4))
    for first, second in zip(straight, many_threads, strict=False):
        assert_same(first, second)
    assert not np.array_equal(straight[0]["frames"], next(batches(train, seed=4))["frames"])


def test_the_people_that_are_pasted_are_of_other_identities_and_the_same_each_time(train, monkeypatch):
    augment = {"paste": 1.0, "paste_cover": 1.0, "noise": 0.5, "erase": 0.5}
    first, again = (next(batches(train, augment=augment, threads=threads)) for threads in (1, 4))
    assert_same(first, again)
    plain = next(batches(train))
    assert (first["frames"] != plain["frames"]).any((1, 2, 3, 4)).sum() >= 6
    read = train.read
    for row in (0, 20):
        rows = []

        def noted(chosen, numbers, rows=rows):
            rows.append(chosen)
            return read(chosen, numbers)

        with monkeypatch.context() as patch:
            patch.setattr(train, "read", noted)
            for seed in range(40):
                frames = loader._somebody_else(train, row, 5, np.random.default_rng(seed))
                assert len(frames) == 5
        assert (train.pids[rows] != train.pids[row]).all()
        assert len(set(rows)) > 10


def test_batches_from_a_later_start_are_those_of_the_whole(train):
    whole = list(batches(train))
    for first, second in zip(whole[3:], list(batches(train, start=3)), strict=True):
        assert_same(first, second)


def test_a_loss_of_a_configuration_file_is_not_sent_to_the_processes_that_read(train, monkeypatch):
    class Own(losses.Term):
        pass

    sent, made = [], loader._TrainingClips
    monkeypatch.setattr(loader, "_TrainingClips", lambda *fields: sent.append(made(*fields)) or sent[0])
    settings = {"size": SIZE, "seed": 3, "num_batches": 1, "num_threads": 1}
    batch = next(train_batches(train, dataclasses.replace(phase(), losses={"own": Own(weight=1.0)}), **settings))
    monkeypatch.undo()
    assert_same(batch, next(batches(train, num_batches=1)))
    assert_same(pickle.loads(pickle.dumps(sent[0]))(0), sent[0](0))


@pytest.mark.slow
def test_two_worker_processes_give_the_batches_of_none(train):
    whole = list(batches(train))
    for first, second in zip(whole[1:], list(batches(train, start=1, num_workers=2)), strict=True):
        assert_same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_workers_to_the_trainer(train, number):
    iterator = batches(train, num_batches=200, num_workers=2)
    next(iterator)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, number)
    assert len([next(iterator) for _ in range(150)]) == 150
    iterator.close()
    assert not any(worker.is_alive() for worker in workers)


def test_signals_stay_held_when_the_first_process_begins():
    script = """
import multiprocessing, signal
from vreid_jax.data import loader
with loader._signals_held():
    multiprocessing.get_context("spawn").Event()
    print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "2\n"


def test_workers_end_with_a_trainer_that_is_killed():
    script = """
import multiprocessing, signal, time
from vreid_jax.data import loader

def work(end):
    loader._end_with_the_trainer(0, 1)
    signal.raise_signal(signal.SIGTERM)  # which it outlives
    end.send("reads")
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=work, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    ours.recv()
    print(worker.pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as trainer:
        worker = int(trainer.stdout.readline())
        trainer.kill()
        deadline = time.monotonic() + 10
        while _runs(worker):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("sampler", ["identity", "shuffle", "frames"])
def test_the_parts_of_two_processes_make_the_whole_batch(train, sampler):
    whole, left, right = (list(batches(train, shard=shard, sampler=sampler)) for shard in ((0, 1), (0, 2), (1, 2)))
    for batch, first, second in zip(whole, left, right, strict=True):
        assert_same(batch, {name: np.concatenate([first[name], second[name]]) for name in batch})


def test_epochs_follow_the_sampler(train):
    assert len(train) == 35
    assert num_batches_per_epoch(train, phase()) == 4  # 16 identities, 4 a batch
    assert num_batches_per_epoch(train, phase(sampler="shuffle")) == 4  # 35 tracklets, 8 a batch
    assert num_batches_per_epoch(train, phase(sampler="frames")) == train.num_frames.sum() // 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identities_per_batch": 3}, "batch_size is 8; it must be a multiple of identities_per_batch = 3"),
        ({"batch_size": 34, "identities_per_batch": 17}, "has 16 identities, fewer than the 17"),
        ({"sampler": "random"}, "sampler is 'random'; it is one of shuffle, frames, identity"),
        ({"shard": (0, 3)}, "batch_size is 8; it must be a multiple of the number of processes, 3"),
    ],
)
def test_what_does_not_fit_is_named(train, changes, words):
    with pytest.raises(InputError, match=words):
        batches(train, **changes)


def test_junk_has_no_place_in_training(gallery):
    with pytest.raises(InputError, match="training split holds tracklets of pid -1"):
        batches(gallery)


def test_a_loss_for_unlabelled_tracklets_gets_them_with_label_minus_one(gallery):
    alone = {"softmax": {"weight": 0.0}, "oim": {"weight": 1.0}}
    found = [next(batches(gallery, sampler="shuffle", losses=alone, seed=seed)) for seed in range(4)]
    labels, pids = (np.concatenate([batch[name] for batch in found]) for name in ("label", "pid"))
    known = np.unique(gallery.pids[gallery.pids >= 0])
    np.testing.assert_array_equal(labels[pids == -1], -1)
    np.testing.assert_array_equal(known[labels[pids >= 0]], pids[pids >= 0])
    assert -1 in labels
    with pytest.raises(InputError, match="the sampler must be shuffle or frames"):
        batches(gallery, losses=alone)


@pytest.mark.parametrize("clip", [clips(), clips("evenly", 3, 4), clips("all", 2, 0, 2)])
def test_every_clip_of_every_tracklet_is_evaluated_once(gallery, clip, monkeypatch):
    monkeypatch.setattr(loader, "FRAMES_PER_ITEM", 8)  # so that tracklets come in pieces
    found = {}
    for row, part in evaluation_items(gallery, clip, size=SIZE, num_threads=2):
        found.setdefault(row, []).append(part)
    assert sorted(found) == list(range(len(gallery)))
    assert max(len(parts) for parts in found.values()) > 1
    for row, num_frames in enumerate(gallery.num_frames):
        numbers = split_clips(clip.kind, int(num_frames), clip.length, clip.num_clips, clip.stride)
        expected = resize(gallery.read(row, np.arange(num_frames)), *SIZE)[numbers]
        np.testing.assert_array_equal(np.concatenate(found[row]), expected)


def test_the_clips_that_pictures_show_are_those_that_are_evaluated(gallery):
    clip = dataclasses.replace(clips("evenly", 3, 4), stride=2, corrupt=3)
    stored = gallery.read(0, np.arange(1)).shape[1:3]
    for row, frames in evaluation_items(gallery, clip, size=stored, num_threads=2, seed=5):
        np.testing.assert_array_equal(clips_as_evaluated(gallery, row, clip, seed=5), frames)
    first, second = (clips_as_evaluated(gallery, 0, clip, seed=seed) for seed in (5, 6))
    assert (first != second).any()  # the choice of the corrupted ones is the seed's


def test_processes_share_the_evaluation_without_overlap(gallery):
    whole = list(evaluation_items(gallery, clips(), size=SIZE, num_threads=2))
    parts = [list(evaluation_items(gallery, clips(), size=SIZE, num_threads=2, shard=(i, 3))) for i in range(3)]
    assert sum(map(len, parts)) == len(whole)
    for number, (row, frames) in enumerate(whole):
        assert parts[number % 3][number // 3][0] == row
        np.testing.assert_array_equal(parts[number % 3][number // 3][1], frames)


def test_shuffling_permutes_the_frames_of_each_tracklet_and_nothing_else(gallery):
    def frames(shuffle_seed):
        items = evaluation_items(gallery, clips(length=1), size=SIZE, num_threads=2, shuffle_seed=shuffle_seed)
        return {row: part[:, 0] for row, part in items}

    plain, shuffled, other = frames(None), frames(0), frames(1)
    moved = 0
    for row, whole in plain.items():
        assert sorted(f.tobytes() for f in whole) == sorted(f.tobytes() for f in shuffled[row])
        moved += not np.array_equal(whole, shuffled[row])
    assert moved >= len(plain) - 1
    assert any(not np.array_equal(other[row], shuffled[row]) for row in plain)
    again = frames(0)
    assert all(np.array_equal(again[row], shuffled[row]) for row in plain)
