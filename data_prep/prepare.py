"""Checks and builds a data set: `python data_prep/prepare.py mars --manual_dir=FOLDER [--check-only]`."""

import sys

from vreid_jax.datasets.prepare_command import main

if __name__ == "__main__":
    sys.exit(main())
