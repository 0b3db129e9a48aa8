"""What a network reads of a tracklet: its pictures, stacks of its optical flow, or both, as channels of one array."""

# NumPy leaves the type of some results unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from vreid_jax.config.inputs import FLOW_CHANNELS, RGB_CHANNELS, STACK
from vreid_jax.data.optical_flow import STILL, flow_fields
from vreid_jax.data.source import HasFlow, Tracklets
from vreid_jax.errors import InputError


def stack_fields(frame_numbers: Int[np.ndarray, "..."], num_frames: int) -> Int[np.ndarray, "... 10"]:
    """Return which fields, counted from 0, the stacks at these frames hold; field n leads from frame n to the next.

    A stack begins at its frame, or earlier where the tracklet would end before it; a tracklet of fewer fields wraps.
    """
    count = max(num_frames - 1, 1)
    first = np.minimum(frame_numbers, count - STACK) if count >= STACK else frame_numbers
    return (np.asarray(first)[..., None] + np.arange(STACK)) % count


def read_inputs(
    source: Tracklets,
    row: int,
    frame_numbers: Int[np.ndarray, "..."],
    inputs: str = "frames",
    *,
    method: str = "dis",
    order: Int[np.ndarray, " T"] | None = None,
) -> UInt8[np.ndarray, "... H W C"]:
    """Read what a network takes at frames of tracklet `row`, C of `config.inputs.CHANNELS`.

    Args:
      source: of the tracklets. Its flow is read where it is stored, and computed where not.
      row: of the tracklet.
      frame_numbers: of any shape.
      inputs: `frames`, RGB; `flow`, stacks of `STACK` fields, x and y in turn; `both`, RGB and then the stack.
      method: of the flow that is computed.
      order: `[T]`, if the tracklet's frames are to come in another order; its flow is then that of this order.
    """
    parts: list[np.ndarray] = []
    if inputs != "flow":
        parts.append(source.read(row, frame_numbers if order is None else order[frame_numbers]))
    if inputs != "frames":
        wanted = stack_fields(frame_numbers, int(source.num_frames[row]))
        unique, where = np.unique(wanted, return_inverse=True)
        stored = source.read_flow(row, unique) if order is None and isinstance(source, HasFlow) else None
        fields = _computed(source, row, unique, method, order) if stored is None else stored
        if parts and fields.shape[1:3] != parts[0].shape[-3:-1]:  # a tracklet of frames of several sizes
            height, width = parts[0].shape[-3:-1]
            fields = np.stack([cv2.resize(field, (width, height)) for field in fields])
        stacks = np.moveaxis(fields[where.reshape(wanted.shape)], -4, -2)  # [..., H, W, 10, 2]
        parts.append(stacks.reshape(*stacks.shape[:-2], FLOW_CHANNELS))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)


def with_x_negated(clip: UInt8[np.ndarray, "T H W C"]) -> UInt8[np.ndarray, "T H W C"]:
    """Negate the displacements in x of a clip that has been mirrored, in place, and return it."""
    flow = flow_of(clip)
    flow[..., 0::2] = np.negative(flow[..., 0::2])  # modulo 256, of which STILL is a half
    return clip


def flow_of(clip: np.ndarray) -> np.ndarray:
    """Return the channels of a clip that hold flow, a view: none, all, or those behind the picture."""
    channels = clip.shape[-1]
    return clip[..., channels if channels == RGB_CHANNELS else channels % FLOW_CHANNELS :]


def fill(channels: int) -> UInt8[np.ndarray, " C"]:
    """Return what stands where there is no picture: black, and no motion."""
    values = np.zeros(channels, np.uint8)
    flow_of(values)[...] = STILL
    return values


def check_inputs(inputs: str, corrupt: int) -> None:
    """Raise `InputError` for clips of optical flow that are to be corrupted, which is defined for pictures alone."""
    if inputs != "frames" and corrupt:
        raise InputError(f"clip.corrupt is {corrupt}; clips of optical flow cannot be corrupted")


def _computed(
    source: Tracklets, row: int, fields: np.ndarray, method: str, order: np.ndarray | None
) -> UInt8[np.ndarray, "F H W 2"]:
    """Compute fields of a tracklet, by number, from its frames."""
    frames = int(source.num_frames[row])
    numbers = np.unique(np.minimum(np.concatenate([fields, fields + 1]), frames - 1))
    pictures = source.read(row, numbers if order is None else order[numbers])
    at = np.searchsorted(numbers, fields)
    found = [flow_fields(pictures[first : first + 2], method)[0] for first in at]
    return np.stack(found)
