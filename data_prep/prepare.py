"""Check and build a dataset: `python data_prep/prepare.py mars --manual_dir=FOLDER [--check-only]`."""

import sys

from vreid_jax.cli import command, data_prepare

if __name__ == "__main__":
    sys.exit(command.run_alone(data_prepare, "prepare.py"))
