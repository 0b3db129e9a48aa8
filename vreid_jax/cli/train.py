"""Train a configuration in a workdir, or go on with it, and evaluate it at its end."""

import sys

EXAMPLE = "vreid train --config=configs/m3d.py:walkers --workdir=runs/mine --config.seed=1"


def forward(arguments: list[str]) -> int:
    """Hand everything to `vreid_jax.main`, whose flags every field of the configuration is."""
    from vreid_jax import main

    sys.argv = ["vreid train", *arguments]  # ml_collections looks there
    try:
        main.run()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0
