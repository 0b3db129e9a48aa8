"""The optical flow of a dataset: complete, resumed, not stale, and refused where it cannot be."""

import collections
import json
import os
import shutil

import numpy as np
import pytest

from vreid_jax import data
from vreid_jax.data import flow_building, flow_files, flow_reuse
from vreid_jax.data.optical_flow import flow_fields
from vreid_jax.errors import InputError
from vreid_jax.experiment import flow
from vreid_jax.experiment.flow import store_flow


@pytest.fixture
def source(tiny_builder, tmp_path, monkeypatch):
    """The query split of walkers/tiny, its flow in files of 40 fields below a folder of its own."""
    monkeypatch.setattr(flow_files, "FIELDS_IN_FILE", 40)
    return split_of(tiny_builder, tmp_path / "tiny" / "1.0.0")


def split_of(builder, folder, split="query"):
    """A split as it would lie in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = data.TrackletSource(builder, split)
    found.folder = folder
    return found


def test_every_field_of_every_tracklet_is_stored(source):
    store_flow(source, "dis", processes=1)
    for row in range(len(source)):
        expected = flow_fields(source.read(row, np.arange(source.num_frames[row])))
        np.testing.assert_array_equal(source.read_flow(row, np.arange(len(expected))), expected)


def test_what_is_there_stays_and_what_is_missing_is_computed(source):
    store_flow(source, "dis", processes=1)
    folder = source.flow.folder
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.flow")}
    assert len(before) > 2
    lost = sorted(before)[1]
    (folder / lost).unlink()
    store_flow(source, "dis", processes=1)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.flow")}
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert [name for name in before if after[name][1] != before[name][1]] == [lost]


def test_flow_of_other_records_is_not_used_and_removed(source, tmp_path, computed):
    record = tmp_path / "records"
    shutil.copy(source.files[0], record)
    source.files = [record]
    store_flow(source, "dis", processes=1)
    old = source.flow.folder
    assert flow_building.flow_folder(source, "dis") == old
    # The same content at another time is the same flow, and known again by its digest.
    os.utime(record, (1, 1))
    assert flow_building.flow_folder(source, "dis") == old
    assert json.loads((source.folder / "content-query.json").read_text())["files"][0][2] == 10**9
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 1
    record.write_bytes(content)
    computed.clear()
    store_flow(source, "dis", processes=1)
    assert source.flow.folder != old
    assert not old.exists()
    assert computed == []  # the frames are those of the records as they were: their flow is copied before it is removed


@pytest.fixture
def computed(monkeypatch):
    """The lengths of the tracklets whose flow is computed, but for the estimate of the size."""
    lengths = []

    def counted(frames, method):
        lengths.append(len(frames))
        return flow_fields(frames, method)

    monkeypatch.setattr(flow_building, "flow_fields", counted)
    monkeypatch.setattr(flow, "expected_bytes", lambda *_: 0)
    return lengths


def test_flow_of_the_same_frames_in_another_division_is_copied(source, tiny_builder, tmp_path, computed):
    store_flow(source, "dis", processes=1)
    assert sorted(computed) == sorted(source.num_frames)
    computed.clear()
    # Another split of the same data, in which the tracklets are others and in another order.
    division = split_of(tiny_builder, tmp_path / "other" / "1.0.0")
    order = np.r_[np.arange(len(division))[::-2], 0]
    division = division.part(order, "train")
    store_flow(division, "dis", processes=1)
    assert computed == []
    for row, there in enumerate(order.tolist()):
        fields = np.arange(max(source.num_frames[there] - 1, 1))
        np.testing.assert_array_equal(division.read_flow(row, fields), source.read_flow(there, fields))
    store_flow(division, "farneback", processes=1)
    assert sorted(computed) == sorted(division.num_frames)


@pytest.mark.parametrize("damage", ["removed", "cut", "garbled", "of others"])
def test_flow_that_cannot_be_copied_is_computed(damage, source, tiny_builder, tmp_path, computed):
    store_flow(source, "dis", processes=1)
    lost = sorted(source.flow.folder.glob("*.flow"))[1]
    content = lost.read_bytes()
    if damage == "removed":
        lost.unlink()
    elif damage == "cut":
        lost.write_bytes(content[: len(content) // 2])
    elif damage == "garbled":  # of the right lengths
        lost.write_bytes(content[:1000] + bytes(len(content) - 1000))
    else:  # its digests are of more tracklets than it has
        digests = lost.with_suffix(flow_reuse.SUFFIX)
        known = json.loads(digests.read_text())
        digests.write_text(json.dumps([*(["another"] * len(known)), *known]))
    computed.clear()
    division = split_of(tiny_builder, tmp_path / "other" / "1.0.0")
    store_flow(division, "dis", processes=1)
    assert 0 < len(computed) < len(source)
    assert (division.flow.folder / lost.name).read_bytes() == content


def test_each_method_has_its_own_flow(source):
    store_flow(source, "dis", processes=1)
    dis = source.flow.folder
    store_flow(source, "farneback", processes=1)
    assert dis.exists()
    assert source.flow.folder.name.startswith("query-farneback-")


def test_a_disk_without_room_is_one_sentence_before_anything_is_computed(source, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(flow.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(InputError, match=r"has 0.00 GB of free space, and the optical flow of query takes about .* GB"):
        store_flow(source, "dis", processes=1)
    assert not list(source.folder.rglob("*.flow"))


def test_the_expected_size_is_about_the_size(source):
    parts = flow_files.flow_parts(source.num_frames)
    expected = flow_building.expected_bytes(source, "dis", parts)
    store_flow(source, "dis", processes=1)
    assert source.flow.num_bytes < expected < 2 * source.flow.num_bytes


def test_a_folder_that_cannot_be_written_to_is_one_sentence(source):
    (source.folder / "flow").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write optical flow to .*; give another data_dir"):
        store_flow(source, "dis", processes=1)


def test_a_frame_that_cannot_be_read_ends_it_and_names_the_tracklet(source, monkeypatch):
    read = source.read
    bad = len(source) - 1

    def refuses(row, numbers):
        if row == bad and len(numbers) > 6:
            raise InputError(f"query/{source.tracklet_ids[row]}: a frame is not a readable JPEG or PNG")
        return read(row, numbers)

    monkeypatch.setattr(source, "read", refuses)
    with pytest.raises(InputError, match=rf"query/{source.tracklet_ids[bad]}: a frame is not a readable"):
        store_flow(source, "dis", processes=1)
    assert list(source.folder.rglob("*.flow"))  # the parts before it, from which a later start goes on


@pytest.mark.slow
def test_processes_write_the_same_files(source, tiny_builder, tmp_path):
    store_flow(source, "dis", processes=1)
    other = split_of(tiny_builder, tmp_path / "elsewhere" / "tiny" / "1.0.0")
    store_flow(other, "dis", processes=2)
    for path in source.flow.folder.iterdir():
        assert (other.flow.folder / path.name).read_bytes() == path.read_bytes()
