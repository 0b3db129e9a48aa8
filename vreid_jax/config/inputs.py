"""What networks read of a tracklet, and how many channels that has."""

STACK = 10
"""Neighbouring fields of optical flow in a stack."""
RGB_CHANNELS = 3
FLOW_CHANNELS = 2 * STACK
FLOW_METHODS = ("dis", "farneback")
"""How optical flow is computed: see `data.optical_flow`."""
CHANNELS = {"frames": RGB_CHANNELS, "flow": FLOW_CHANNELS, "both": RGB_CHANNELS + FLOW_CHANNELS}
"""Channels of pictures, of stacks of flow with x and y in turn, and of a picture with the stack that begins there."""
