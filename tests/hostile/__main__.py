"""The command: see the docstring of the package."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from hostile import session


def main() -> int:
    """Try the readers, print a table of counts and what failed; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python3 -m hostile")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--count", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--reader", default="", help="only this reader")
    parser.add_argument("--number", type=int, help="only this input of the reader")
    parser.add_argument("--keep", type=Path, help="a new folder for the input of --number")
    flags = parser.parse_args()
    print(f"seed {flags.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if flags.number is not None:
            one = session.Session(Path(folder), flags.seed, flags.reader)
            print(one.court.outcome(one.readers[0], flags.number, flags.keep))
            return 0
        report = session.in_processes(Path(folder), flags.seed, flags.count, flags.reader)
    print(report.table())
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
