"""`vreid SUBCOMMAND …`: finds the subcommand, says what is wrong in one sentence, returns 0, 1 or 2."""

import argparse
import contextlib
import importlib
import json
import logging
import sys
from collections.abc import Sequence

from vreid_jax.errors import InputError
from vreid_jax.runtime.huge_pages import restart_with_huge_pages

SUBCOMMANDS = ("train", "evaluate", "embed", "search", "report", "convert", "upload", "export", "data")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns 0, 1 when it failed underway, or 2 where what was given is at fault."""
    if arguments is None:
        restart_with_huge_pages()
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name in ("", "-h", "--help"):
        print(_overview())
        return 0 if name else 2
    if name not in SUBCOMMANDS:
        print(f"vreid: there is no subcommand {name!r}; they are {', '.join(SUBCOMMANDS)}", file=sys.stderr)
        return 2
    logging.getLogger().setLevel(logging.WARNING)
    subcommand = _module(name)
    if hasattr(subcommand, "forward"):  # another command with flags of its own
        return subcommand.forward(given[1:])
    parser = argparse.ArgumentParser(
        prog=f"vreid {name}",
        description=subcommand.__doc__,
        epilog=f"example:\n  {subcommand.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subcommand.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for programs")
    try:
        flags = parser.parse_args(given[1:])
    except SystemExit as leaving:  # argparse has said why
        return int(leaving.code or 0)
    if name != "report":  # the others compute
        from vreid_jax.runtime.compilation_cache import use_compilation_cache

        use_compilation_cache()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the library prints underway is not the outcome
            outcome = subcommand.run(flags)
    except InputError as error:
        print(f"vreid {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"vreid {name}: interrupted", file=sys.stderr)
        return 1
    except (OSError, RuntimeError, MemoryError) as error:
        print(f"vreid {name}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(json.dumps(outcome, indent=1) if flags.json else subcommand.text(outcome), flush=True)
    return 0


def _module(name: str):
    return importlib.import_module(f"vreid_jax.cli.{name}")


def _overview() -> str:
    lines = ["usage: vreid SUBCOMMAND …, and vreid SUBCOMMAND --help", ""]
    for name in SUBCOMMANDS:
        lines.append(f"  {name:10}{(_module(name).__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
