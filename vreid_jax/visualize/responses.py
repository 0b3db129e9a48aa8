"""The command `vreid responses` under its earlier name, `python -m vreid_jax.visualize.responses`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    from vreid_jax.cli import command, responses

    return command.run_alone(responses, "vreid_jax.visualize.responses", arguments)


if __name__ == "__main__":
    sys.exit(main())
