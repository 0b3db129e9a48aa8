"""Train a configuration in a workdir, or resume it, and evaluate it at the end."""

import sys

from vreid_jax.runtime.exit_codes import leave

EXAMPLE = "vreid train m3d:walkers --workdir=runs/mine --config.seed=1"
PROGRAM = "vreid train"


def forward(arguments: list[str]) -> None:
    """Hand the flags to `vreid_jax.main`: any field of the configuration is one of them.

    Raises:
      SystemExit: with the exit code, unless the run came to its end.
    """
    from vreid_jax import main

    sys.argv = [PROGRAM, *main_flags(arguments)]  # ml_collections looks there
    main.run()


def main_flags(arguments: list[str]) -> list[str]:
    """Return the flags for `vreid_jax.main`; the first argument may name the configuration, as `--config` does.

    Raises:
      SystemExit: when two configurations are named.
    """
    if not arguments or arguments[0].startswith("-"):
        return arguments
    if again := [flag for flag in arguments if flag.lstrip("-").partition("=")[0] == "config"]:
        leave(PROGRAM, f"{arguments[0]} and {again[0]} both name a configuration: give one", 2)
    return [f"--config={arguments[0]}", *arguments[1:]]
