"""Shows a contact sheet of a dataset: `python data_prep/show.py walkers/small --out=sheet.png`."""

import sys

from vreid_jax.cli.data_show import main

if __name__ == "__main__":
    sys.exit(main())
