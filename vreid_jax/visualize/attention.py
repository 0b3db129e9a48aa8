"""The command `vreid attention` under its earlier name, `python -m vreid_jax.visualize.attention`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    from vreid_jax.cli import attention, command

    return command.run_alone(attention, "vreid_jax.visualize.attention", arguments)


if __name__ == "__main__":
    sys.exit(main())
