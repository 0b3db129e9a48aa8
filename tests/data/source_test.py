import cv2
import numpy as np
import pytest

from vreid_jax.data import JoinedSource, TrackletSource, decode_frames
from vreid_jax.data import source as source_module
from vreid_jax.errors import InputError


def png(frame):
    return cv2.imencode(".png", frame[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def gallery(tiny_builder):
    return TrackletSource(tiny_builder, "gallery")


@pytest.fixture
def decoded(monkeypatch):
    """The list of pictures that were decoded, as they were stored."""
    calls, decode = [], cv2.imdecode
    monkeypatch.setattr(source_module.cv2, "imdecode", lambda data, flags: calls.append(data) or decode(data, flags))
    return calls


def test_frames_and_labels_are_those_that_tfds_reads(tiny_builder, gallery):
    for row, example in enumerate(tiny_builder.as_data_source("gallery")):
        frames = np.stack(list(example["frames"]))
        assert gallery.num_frames[row] == len(frames)
        assert (gallery.pids[row], gallery.camids[row]) == (example["pid"], example["camid"])
        assert gallery.tracklet_ids[row] == example["tracklet_id"].decode()
        if row % 5 == 0:
            np.testing.assert_array_equal(gallery.read(row, np.arange(len(frames))), frames)


def test_a_part_of_a_split_is_a_split_of_its_own(gallery):
    rows = np.array([5, 2, 9])
    part = gallery.part(rows, "half")
    assert (len(part), part.split) == (3, "half")
    for number, row in enumerate(rows.tolist()):
        for name in ("pids", "camids", "tracklet_ids", "num_frames"):
            assert getattr(part, name)[number] == getattr(gallery, name)[row]
        numbers = np.arange(0, part.num_frames[number], 2)
        np.testing.assert_array_equal(part.read(number, numbers), gallery.read(row, numbers))
    again = part.part(np.array([1]), "one")
    np.testing.assert_array_equal(again.read(0, np.array([0])), gallery.read(2, np.array([0])))
    assert part.digest() not in (gallery.digest(), again.digest())


def test_only_the_frames_that_were_asked_for_are_decoded_each_once(gallery, decoded):
    whole = gallery.read(4, np.arange(gallery.num_frames[4]))
    decoded.clear()
    numbers = np.array([[3, 0], [3, 3]])
    frames = gallery.read(4, numbers)
    assert len(decoded) == 2
    assert frames.shape == (2, 2, *whole.shape[1:])
    np.testing.assert_array_equal(frames, whole[numbers])


def test_frames_of_interleaved_clips_come_in_the_order_asked_for(gallery):
    whole = gallery.read(4, np.arange(gallery.num_frames[4]))
    numbers = np.array([[0, 2], [1, 3]])
    np.testing.assert_array_equal(gallery.read(4, numbers), whole[numbers])


def test_colours_are_red_green_blue():
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(decode_frames([png(red)], "x"), red[None])


def test_frames_of_several_sizes_are_resized_to_the_median():
    sizes = [(40, 1), (42, 19), (44, 21), (46, 20), (400, 200)]  # cut off by the border at first
    frames = decode_frames([png(np.full((*size, 3), shade, np.uint8)) for shade, size in enumerate(sizes)], "x")
    assert frames.shape == (5, 44, 20, 3)
    np.testing.assert_array_equal(frames, np.broadcast_to(np.arange(5)[:, None, None, None], frames.shape))
    assert decode_frames([png(np.zeros((4, 2, 3), np.uint8)), png(np.zeros((9, 5, 3), np.uint8))], "x").shape[1] == 9


@pytest.mark.parametrize("data", [b"no picture", b""])
def test_unreadable_bytes_are_an_error_that_names_the_tracklet(data):
    with pytest.raises(InputError, match="train/0007/c2: a frame is not a readable JPEG or PNG"):
        decode_frames([png(np.zeros((2, 2, 3), np.uint8)), data], "train/0007/c2")


def test_the_index_is_read_from_disk_the_second_time(tiny_builder, monkeypatch):
    first = TrackletSource(tiny_builder, "query")
    monkeypatch.setattr(TrackletSource, "_scan", lambda *_: pytest.fail("scanned again"))
    second = TrackletSource(tiny_builder, "query")
    for name in ("pids", "camids", "tracklet_ids", "num_frames"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_broken_index_is_made_anew(tiny_builder):
    path = tiny_builder.data_path / "index-query.npz"
    whole = TrackletSource(tiny_builder, "query")
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(TrackletSource(tiny_builder, "query").num_frames, whole.num_frames)
    np.testing.assert_array_equal(TrackletSource(tiny_builder, "query").tracklet_ids, whole.tracklet_ids)


def test_an_index_of_other_records_is_made_anew(tiny_builder):
    path = tiny_builder.data_path / "index-query.npz"
    whole = TrackletSource(tiny_builder, "query")
    with np.load(path) as table:
        columns = dict(table)
    for changes in ({"files": columns["files"] + 1}, {"positions": None}):
        changed = {name: values for name, values in {**columns, **changes}.items() if values is not None}
        np.savez(path, **{**changed, "pids": columns["pids"] + 1})
        np.testing.assert_array_equal(TrackletSource(tiny_builder, "query").pids, whole.pids)


def test_joined_sources_read_as_their_parts(tiny_builder, gallery):
    query = TrackletSource(tiny_builder, "query")
    rows = np.array([len(query) + 2, 0, len(query), len(query) - 1])
    joined = JoinedSource((query, gallery), rows)
    assert len(joined) == 4
    for row, (part, own) in enumerate([(gallery, 2), (query, 0), (gallery, 0), (query, len(query) - 1)]):
        assert joined.tracklet_ids[row] == part.tracklet_ids[own]
        assert joined.num_frames[row] == part.num_frames[own]
        np.testing.assert_array_equal(joined.read(row, np.array([1])), part.read(own, np.array([1])))
