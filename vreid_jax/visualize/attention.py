"""The command `vreid attention` under its earlier name, `python -m vreid_jax.visualize.attention`."""

import sys

from vreid_jax.cli.attention import main

if __name__ == "__main__":
    sys.exit(main())
