"""The command `vreid responses` under its earlier name, `python -m vreid_jax.visualize.responses`."""

import sys

from vreid_jax.cli.responses import main

if __name__ == "__main__":
    sys.exit(main())
