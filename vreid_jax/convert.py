"""The command `vreid convert` for PyTorch weights under its earlier name, `python -m vreid_jax.convert`."""

import sys
from collections.abc import Sequence

from absl import logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    from vreid_jax.cli import command, convert_weights

    return command.run_alone(convert_weights, "vreid_jax.convert", arguments)


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)  # which tensors are left out
    sys.exit(main())
