"""Stacks of optical flow: which fields, in which channels, mirrored, cropped, shuffled."""

import numpy as np
import pytest

from vreid_jax.config.inputs import CHANNELS
from vreid_jax.data import augment, evaluation_items, read_inputs, resize
from vreid_jax.data.flow_stacks import fill, flow_of, stack_fields, with_x_negated
from vreid_jax.data.optical_flow import STILL, flow_fields
from vreid_jax.errors import InputError

SIZE = (24, 16)


class Memory:
    """One tracklet in memory, with or without stored fields."""

    pids, camids, tracklet_ids = np.zeros(1, int), np.zeros(1, int), np.array(["t"])

    def __init__(self, num_frames, fields=None, seed=0):
        self.frames = np.random.default_rng(seed).integers(0, 256, (num_frames, *SIZE, 3), np.uint8)
        self.num_frames = np.array([num_frames])
        self.fields = fields

    def __len__(self):
        return 1

    def read(self, row, frame_numbers):
        return self.frames[frame_numbers]

    def read_flow(self, row, fields):
        return None if self.fields is None else self.fields[fields]


def numbered(count):
    """Fields of which number n has n in all of x, and 100 + n in all of y."""
    values = np.stack([np.arange(count), 100 + np.arange(count)], 1)
    return np.broadcast_to(values[:, None, None], (count, *SIZE, 2)).astype(np.uint8)


def test_a_stack_begins_at_its_frame_and_ends_with_the_tracklet():
    found = stack_fields(np.array([0, 3, 9, 14]), 15)  # fields 0 to 13
    np.testing.assert_array_equal(found[:, 0], [0, 3, 4, 4])
    np.testing.assert_array_equal(found[1], np.arange(3, 13))
    np.testing.assert_array_equal(found[2], np.arange(4, 14))


def test_a_short_tracklet_wraps():
    np.testing.assert_array_equal(stack_fields(np.array(2), 5), [2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
    np.testing.assert_array_equal(stack_fields(np.array([[0, 1]]), 1), np.zeros((1, 2, 10)))


def test_x_and_y_of_neighbouring_fields_alternate():
    stack = read_inputs(Memory(14, numbered(13)), 0, np.array([[2, 13]]), "flow")
    assert stack.shape == (1, 2, *SIZE, 20)
    np.testing.assert_array_equal(
        stack[0, 0, 5, 7], [2, 102, 3, 103, 4, 104, 5, 105, 6, 106, 7, 107, 8, 108, 9, 109, 10, 110, 11, 111]
    )
    np.testing.assert_array_equal(stack[0, 1, 0, 0, :2], [3, 103])  # the last that is complete


def test_both_is_the_frame_and_the_stack_behind_it():
    source = Memory(14, numbered(13))
    both = read_inputs(source, 0, np.array([4, 1]), "both")
    assert both.shape == (2, *SIZE, 23)
    np.testing.assert_array_equal(both[..., :3], source.frames[[4, 1]])
    np.testing.assert_array_equal(both[..., 3:], read_inputs(source, 0, np.array([4, 1]), "flow"))


def test_flow_that_is_not_stored_is_computed_also_of_another_order():
    computed = Memory(14)
    stored = Memory(14, flow_fields(computed.frames))
    numbers = np.array([0, 3, 13])
    np.testing.assert_array_equal(read_inputs(computed, 0, numbers, "flow"), read_inputs(stored, 0, numbers, "flow"))
    order = np.random.default_rng(1).permutation(14)
    shuffled = Memory(14, flow_fields(computed.frames[order]))
    shuffled.frames = computed.frames[order]
    np.testing.assert_array_equal(
        read_inputs(stored, 0, numbers, "both", order=order), read_inputs(shuffled, 0, numbers, "both")
    )


def test_frames_of_another_size_than_the_flow_decide():
    source = Memory(14, numbered(13).repeat(2, 1).repeat(2, 2))
    both = read_inputs(source, 0, np.array([0]), "both")
    assert both.shape == (1, *SIZE, 23)
    np.testing.assert_array_equal(both[0, 0, 0, 3:7], [0, 100, 1, 101])


def test_mirroring_negates_x_alone():
    clip = np.zeros((1, *SIZE, 23), np.uint8)
    clip[..., :3] = 7
    clip[..., 3::2], clip[..., 4::2] = STILL + 5, STILL + 9
    found = with_x_negated(clip.copy())
    assert (found[..., :3] == 7).all()
    assert (found[..., 3::2] == STILL - 5).all()
    assert (found[..., 4::2] == STILL + 9).all()


def test_a_mirrored_stack_is_the_flow_of_mirrored_frames():
    rng = np.random.default_rng(3)
    texture = np.repeat(np.repeat(rng.integers(0, 256, (40, 30, 3), np.uint8), 2, 0), 2, 1)
    source = Memory(11)
    source.frames = np.stack([texture[5 : 5 + 64, 5 + n : 5 + n + 32] for n in range(11)])  # everything moves left
    source.fields = flow_fields(source.frames)
    mirror = Memory(11)
    mirror.frames = np.ascontiguousarray(source.frames[:, :, ::-1])
    clip = read_inputs(source, 0, np.array([0]), "both")
    found = augment(clip, 64, 32, np.random.default_rng(0), flip=1.0)
    expected = read_inputs(mirror, 0, np.array([0]), "both")
    np.testing.assert_array_equal(found[..., :3], expected[..., :3])
    # OpenCV's search is not exactly symmetric.
    assert np.median(np.abs(found[..., 3:].astype(int) - expected[..., 3:])) <= 1
    assert np.median(found[..., 3::2]) > STILL + 3 > STILL - 3 > np.median(clip[..., 3::2])


@pytest.mark.parametrize("channels", CHANNELS.values())
def test_crops_are_those_of_the_pictures_and_colours_leave_flow_alone(channels):
    picture = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 1), np.uint8)
    clip = np.repeat(picture, channels, -1)
    cropped = augment(clip, 20, 12, np.random.default_rng(5), enlarge_crop=1.0, pad_crop=1.0, padding=0.2)
    assert cropped.shape == (2, 20, 12, channels)
    inside = (cropped[..., :1] != fill(channels)[0]) & (cropped[..., -1:] != fill(channels)[-1])
    assert inside.mean() > 0.4
    spread = np.ptp(cropped.astype(int), axis=-1, keepdims=True)
    assert spread[inside].max() == 0
    recoloured = augment(
        clip, *SIZE, np.random.default_rng(5), color_jitter=1.0, noise=1.0, erase=1.0, jpeg=1.0, blur=1.0
    )
    np.testing.assert_array_equal(flow_of(recoloured), flow_of(clip))
    assert channels == 20 or (recoloured[..., :3] != clip[..., :3]).any()


def test_what_has_no_picture_is_black_and_still():
    np.testing.assert_array_equal(fill(23), [0] * 3 + [STILL] * 20)
    np.testing.assert_array_equal(fill(20), [STILL] * 20)
    np.testing.assert_array_equal(fill(3), [0] * 3)


@pytest.mark.parametrize("size", [(12, 8), (48, 40), (11, 13)])
def test_many_channels_are_resized_as_each_alone(size):
    clip = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 23), np.uint8)
    found = resize(clip, *size)
    for channel in (0, 3, 22):
        alone = resize(np.ascontiguousarray(clip[..., [channel] * 3]), *size)
        np.testing.assert_array_equal(found[..., channel], alone[..., 0])


def test_the_pieces_of_a_tracklet_have_the_channels_of_what_is_read(clip_settings):
    source = Memory(14)
    for inputs, channels in CHANNELS.items():
        ((row, clips),) = evaluation_items(source, clip_settings(), size=SIZE, num_threads=1, inputs=inputs)
        assert row == 0
        assert clips.shape == (14, 1, *SIZE, channels)
        np.testing.assert_array_equal(clips[:, 0], read_inputs(source, 0, np.arange(14), inputs))
    with pytest.raises(InputError, match=r"clip.corrupt is 2; clips of optical flow cannot be corrupted"):
        evaluation_items(source, clip_settings(corrupt=2), size=SIZE, num_threads=1, inputs="flow")


@pytest.fixture
def clip_settings():
    from vreid_jax.config.phases import Clip

    def make(**changes):
        return Clip(**{"kind": "all", "length": 1, "stride": 1, "num_clips": 2, "corrupt": 0, **changes})

    return make
