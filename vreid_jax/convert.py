"""The command `vreid convert` for PyTorch weights under its earlier name, `python -m vreid_jax.convert`."""

import logging
import sys

from absl import logging as absl_logging

from vreid_jax.inference.convert import main

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.WARNING)
    absl_logging.set_verbosity(absl_logging.INFO)
    sys.exit(main())
