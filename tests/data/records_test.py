"""Positions of frames in records, against TFDS's own parser."""

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from vreid_jax.data.records import frame_positions, take_frames
from vreid_jax.errors import InputError


def example(frames):
    message = tf_example_pb2.Example()
    message.features.feature["pid"].int64_list.value.append(7)
    message.features.feature["score"].float_list.value.extend([0.5, 1.5])
    message.features.feature["frames"].bytes_list.value.extend(frames)
    message.features.feature["tracklet_id"].bytes_list.value.append(b"0007/c1_0")
    return message.SerializeToString()


@pytest.mark.parametrize("sizes", [(), (1,), (0, 127, 128), (3000, 70000, 5)])
def test_frames_lie_where_their_positions_say(sizes):
    generator = np.random.default_rng(0)
    frames = [generator.bytes(size) for size in sizes]
    record = example(frames)
    positions = frame_positions(record)
    assert positions.shape == (len(frames), 2)
    assert take_frames(record, positions) == frames
    assert take_frames(record, positions[::-2]) == frames[::-2]


def test_a_damaged_record_and_positions_of_another_one_are_refused():
    record = example([b"a" * 200, b"b" * 300])
    with pytest.raises(InputError, match="is damaged: build the dataset again"):
        frame_positions(record[:-100])
    with pytest.raises(InputError, match="has no frames"):
        frame_positions(b"")
    other = example([b"a" * 201, b"b" * 300])
    with pytest.raises(InputError, match=r"is not the one that was indexed: remove its index-\*.npz"):
        take_frames(other, frame_positions(record))
