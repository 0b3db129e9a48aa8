#!/bin/sh
# Checks and measures the library on the accelerator at hand; `benchmarks/on_device.sh --help` says how.
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$(dirname "$here")${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 exec "${PYTHON:-python3}" "$here/on_device.py" "$@"
