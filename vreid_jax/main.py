"""The command line: `python -m vreid_jax.main --config=configs/m3d.py[:DATASET,…] [--workdir=DIR]`."""

import logging
import signal
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from vreid_jax.config import DATASETS, explain_flag_error
from vreid_jax.errors import InputError
from vreid_jax.runtime.huge_pages import restart_with_huge_pages

HELP = f"""usage: PROGRAM --config=FILE[:DATASET[,key=value…]] [--workdir=DIR] [--mode=MODE] [--config.field=value …]

Trains a configuration in a workdir, or goes on with it, and evaluates it at its end.

FILE is a system in configs/; DATASET is one of {", ".join(DATASETS)}; MODE is train_and_evaluate (default), train
or evaluate. Every field of the configuration can be set; a run's config.json lists them all.

example:
  PROGRAM --config=configs/m3d.py:walkers --workdir=runs/mine --config.seed=1"""

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "File of a system, e.g. configs/m3d.py or configs/m3d.py:mars.")
flags.DEFINE_string("workdir", None, "Folder of the run; default runs/<system>-<dataset>.")
flags.DEFINE_string("mode", "train_and_evaluate", "train_and_evaluate, train or evaluate.")


def _fail(message: str, code: int = 2) -> None:
    print(f"vreid_jax: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the command line; what is wrong with it is one sentence and exit code 2, never a traceback."""
    if any(argument in ("-h", "--help", "-help") for argument in argv[1:]):
        program = argv[0] if argv[0].startswith("vreid ") else "python -m vreid_jax.main"
        print(HELP.replace("PROGRAM", program))
        sys.exit(0)
    try:
        rest = FLAGS(argv)
        given = FLAGS.config is not None and bool(FLAGS.config.system)  # reading a field is what loads the file
    except InputError as error:
        _fail(str(error))
    except Exception as error:  # the file is somebody's program, and absl and ml_collections raise what they like
        _fail(explain_flag_error(argv[1:], error))
    if not given:
        _fail("give --config, e.g. --config=configs/m3d.py")
    if len(rest) > 1:
        _fail(f"{rest[1]!r} is no flag; fields are set as --config.field=value")
    return rest


def main(argv: list[str]) -> None:
    """Run the configuration that the flags name."""
    del argv
    from vreid_jax import experiment
    from vreid_jax.errors import NonFiniteLoss
    from vreid_jax.runtime import compilation_cache, processes
    from vreid_jax.training.signals import Interrupted

    config = FLAGS.config
    workdir = Path(FLAGS.workdir or Path("runs") / f"{config.system}-{config.dataset}")
    compilation_cache.use_compilation_cache()
    try:
        processes.join_from_environment()
        experiment.train_and_evaluate(config, workdir, FLAGS.mode)
    except InputError as error:
        _fail(str(error))
    except NonFiniteLoss as error:
        _fail(str(error), 1)
    except Interrupted as error:
        _fail(str(error), error.exit_code)


def run() -> None:
    """Run the command line; SIGINT and SIGTERM end it in one line."""
    # While no step runs, SIGTERM is what Ctrl-C is; the training loop has its own way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app.run(main, flags_parser=parse_flags)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on from the last checkpoint", 130)


if __name__ == "__main__":
    restart_with_huge_pages()
    logging.disable(logging.INFO)
    run()
