"""Train a configuration in a workdir, or go on with it, and evaluate it at its end."""

import sys

EXAMPLE = "vreid train --config=configs/m3d.py:walkers --workdir=runs/mine --config.seed=1"
HELP = f"""usage: vreid train --config=FILE[:DATASET[,key=value…]] [--workdir=DIR] [--mode=MODE] [--config.field=value …]

{__doc__}
The flags are those of `python -m vreid_jax.main`. MODE is train_and_evaluate (default), train or evaluate.

example:
  {EXAMPLE}"""


def forward(arguments: list[str]) -> int:
    """Hand everything to `vreid_jax.main`, whose flags every field of the configuration is."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(HELP)
        return 0
    from absl import app

    from vreid_jax import main

    sys.argv = ["vreid train", *arguments]  # ml_collections looks there
    try:
        app.run(main.main, flags_parser=main.parse_flags)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0
