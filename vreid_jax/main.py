"""The command line: `python -m vreid_jax.main --config=configs/m3d.py[:DATASET,…] [--workdir=DIR]`."""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from vreid_jax.config import DATASETS, explain_flag_error
from vreid_jax.config.files import shipped_configs, with_config_paths
from vreid_jax.errors import InputError
from vreid_jax.runtime import command_process
from vreid_jax.runtime.exit_codes import exit_codes, leave

HELP = """usage: PROGRAM FILE[:DATASET[,key=value…]] [--workdir=DIR] [--mode=MODE] [--config.field=value …]

Train a configuration in a workdir, or resume it, and evaluate it at the end.

FILE is a path, or one of the configurations that come with the library: SHIPPED.
DATASET is one of DATASETS.
MODE is train_and_evaluate (default), train or evaluate.
Every field of the configuration can be set; a run's config.json lists them all.

example:
  EXAMPLE --workdir=runs/mine --config.seed=1"""
INTERRUPTED = "interrupted; run the same command again to go on from the last checkpoint"


FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "File or name of a system, e.g. configs/m3d.py or m3d:mars.")
flags.DEFINE_string("workdir", None, "Folder of the run; default runs/<system>-<dataset>.")
flags.DEFINE_string("mode", "train_and_evaluate", "train_and_evaluate, train or evaluate.")


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the command line; what is wrong with it is one sentence and exit code 2, never a traceback."""
    if any(argument in ("-h", "--help", "-help") for argument in argv[1:]):
        print(_help(argv[0]))
        sys.exit(0)
    program = _program(argv[0])
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the flag would keep it beside the configuration
    try:
        rest = FLAGS(with_config_paths(argv))
        given = FLAGS.config is not None and bool(FLAGS.config.system)  # reading a field is what loads the file
    except InputError as error:
        leave(program, str(error), 2)
    except Exception as error:  # the file is somebody's program, and absl and ml_collections raise what they like
        leave(program, explain_flag_error(argv[1:], error), 2)
    finally:
        sys.dont_write_bytecode = before
    if not given:
        leave(program, "give --config, e.g. --config=m3d", 2)
    if len(rest) > 1:
        leave(program, f"{rest[1]!r} is not a flag; fields are set as --config.field=value", 2)
    return rest


def main(argv: list[str]) -> None:
    """Run the configuration that the flags name."""
    del argv
    from vreid_jax import experiment
    from vreid_jax.runtime import processes

    config = FLAGS.config
    workdir = Path(FLAGS.workdir or Path("runs") / f"{config.system}-{config.dataset}")
    with exit_codes(_program(sys.argv[0]), INTERRUPTED):
        processes.join_from_environment()
        experiment.train_and_evaluate(config, workdir, FLAGS.mode)


def run() -> None:
    """Run the command line; SIGINT and SIGTERM end it in one line."""
    with exit_codes(_program(sys.argv[0]), INTERRUPTED):
        app.run(main, flags_parser=parse_flags)


def _program(name: str) -> str:
    return name if name.startswith("vreid ") else "vreid_jax"


def _help(name: str) -> str:
    forwarded = name.startswith("vreid ")
    text = HELP.replace("PROGRAM FILE", f"{name} FILE" if forwarded else "python -m vreid_jax.main --config=FILE")
    example = f"{name} m3d:walkers" if forwarded else "python -m vreid_jax.main --config=m3d:walkers"
    text = text.replace("EXAMPLE", example).replace("SHIPPED", ", ".join(shipped_configs()))
    return text.replace("DATASETS", ", ".join(DATASETS))


if __name__ == "__main__":
    with exit_codes("vreid_jax"):
        command_process.begin(silent=True)
    run()
