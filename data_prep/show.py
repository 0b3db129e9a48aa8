"""Show a contact sheet of a dataset: `python data_prep/show.py walkers/small --out=sheet.png`."""

import sys

from vreid_jax.cli import command, data_show

if __name__ == "__main__":
    sys.exit(command.run_alone(data_show, "show.py"))
