"""Checks and builds a data set: `python data_prep/prepare.py mars --manual_dir=FOLDER [--check-only]`."""

import sys

from vreid_jax.cli.data_prepare import main

if __name__ == "__main__":
    sys.exit(main())
