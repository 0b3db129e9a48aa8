"""The command `vreid clip-pairs` under its earlier name, `python -m vreid_jax.visualize.clip_pairs`."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    from vreid_jax.cli import clip_pairs, command

    return command.run_alone(clip_pairs, "vreid_jax.visualize.clip_pairs", arguments)


if __name__ == "__main__":
    sys.exit(main())
