"""`vreid COMMAND …`: find the command, run it, print its outcome, return its exit code."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol, runtime_checkable

import vreid_jax
from vreid_jax.cli import (
    adapt,
    archive,
    attention,
    calibrate,
    clip_pairs,
    convert,
    data,
    embed,
    evaluate,
    export,
    forget,
    link,
    push,
    report,
    responses,
    search,
    serve,
    track,
    train,
    upload,
)
from vreid_jax.runtime import command_process
from vreid_jax.runtime.exit_codes import exit_codes


@runtime_checkable
class Command(Protocol):
    """What a module of this room offers. It imports the library only when it runs, so that `vreid --help` is fast.

    The first line of its docstring is its line in `vreid --help`. More names are looked at where a module has them:
    `INTERRUPTED`, the sentence after Ctrl-C; `REPORTS_UNDERWAY`, true where what is printed while it runs is part of the
    outcome; and `incomplete`, which says of an outcome whether a part of the work failed, for the exit code 1.
    """

    @property
    def EXAMPLE(self) -> str:
        """What its help gives as the example."""
        ...

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the flags."""
        ...

    def run(self, flags: argparse.Namespace) -> dict:
        """Do the work and return the outcome, which JSON can hold."""
        ...

    def text(self, outcome: dict) -> str:
        """Return the outcome as text for people."""
        ...


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "track": track,
    "embed": embed,
    "archive": archive,
    "search": search,
    "push": push,
    "calibrate": calibrate,
    "link": link,
    "adapt": adapt,
    "report": report,
    "serve": serve,
    "forget": forget,
    "convert": convert,
    "upload": upload,
    "export": export,
    "data": data,
    "attention": attention,
    "responses": responses,
    "clip-pairs": clip_pairs,
}
SUBCOMMANDS = tuple(COMMANDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 when it failed, 2 when the input is at fault, 130 after Ctrl-C.

    Args:
      arguments: those behind `vreid`; default: the process's own, which is then set up for the command.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["train"]:  # its flags are the fields of a configuration, which argparse cannot know
            if arguments is None:
                with exit_codes(train.PROGRAM):
                    command_process.begin(silent=True)
            train.forward(given[1:])
            return 0
        parser = _parser()
        if not given:
            parser.print_help()
            return 2
        if not given[0].startswith("-") and given[0] not in COMMANDS:
            print(f"vreid: there is no subcommand {given[0]!r}; they are {', '.join(COMMANDS)}", file=sys.stderr)
            return 2
        flags = parser.parse_args(given)
        _run(flags.module, flags, flags.program, own_process=arguments is None)
    except SystemExit as leaving:  # argparse or `exit_codes` has said why
        return int(leaving.code or 0)
    return 0


def run_alone(command: Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command under another name, as a script or `python -m` does, and return its exit code.

    Args:
      command: the module of the command.
      program: the name for its help and its errors.
      arguments: its flags; default: those of the process, which is then set up for the command.
    """
    try:
        parser = argparse.ArgumentParser(**_about(command, program))
        _add_arguments(parser, command, program)
        flags = parser.parse_args(arguments)
        _run(command, flags, program, own_process=arguments is None)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def _run(command: Command, flags: argparse.Namespace, program: str, *, own_process: bool) -> None:
    # What the library prints on its way is not the outcome, which a program may read.
    apart = flags.json or not getattr(command, "REPORTS_UNDERWAY", False)
    with exit_codes(program, getattr(command, "INTERRUPTED", "interrupted")):
        if own_process:
            command_process.begin()
        with contextlib.redirect_stdout(sys.stderr) if apart else contextlib.nullcontext():
            outcome = command.run(flags)
        _print(json.dumps(outcome, indent=1) if flags.json else command.text(outcome))
        if getattr(command, "incomplete", lambda outcome: False)(outcome):
            sys.exit(1)


def _print(text: str) -> None:
    """Print an outcome; a reader that has seen enough of it, such as `head`, is not an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whatever is still in the buffer would fail again when Python flushes it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vreid",
        usage="vreid COMMAND …, and vreid COMMAND --help",
        description=_listing(COMMANDS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vreid {vreid_jax.__version__}")
    commands = parser.add_subparsers(prog="vreid", required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    for name, module in COMMANDS.items():
        if hasattr(module, "COMMANDS"):
            group = commands.add_parser(name, **_about_group(module, f"vreid {name}"))
            parts = group.add_subparsers(prog=f"vreid {name}", required=True, metavar="WHAT", help=argparse.SUPPRESS)
            for part, command in module.COMMANDS.items():
                _add(parts, part, command, f"vreid {name} {part}")
        elif module is not train:
            _add(commands, name, module, f"vreid {name}")
    return parser


def _add(commands, name: str, command: ModuleType, program: str) -> None:
    assert isinstance(command, Command), f"{command.__name__} lacks a name of `Command`"
    _add_arguments(commands.add_parser(name, **_about(command, program)), command, program)


def _about(command, program: str) -> dict:
    return {
        "prog": program,
        "description": command.__doc__,
        "epilog": f"example:\n  {command.EXAMPLE}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _about_group(group, program: str) -> dict:
    listing = f"{group.__doc__}\n\n{_listing(group.COMMANDS)}"
    return {**_about(group, program), "description": listing, "usage": f"{program} WHAT …, and {program} WHAT --help"}


def _add_arguments(parser: argparse.ArgumentParser, command: Command, program: str) -> None:
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for programs")
    parser.set_defaults(module=command, program=program)


def _listing(commands: dict) -> str:
    lines = [f"  {name:11} {module.__doc__.splitlines()[0]}" for name, module in commands.items()]
    return "\n".join(["commands:", *lines])


if __name__ == "__main__":
    sys.exit(main())
