"""The parts of `on_device.py`: each measures one thing on the device at hand and writes a row as soon as it has it."""
