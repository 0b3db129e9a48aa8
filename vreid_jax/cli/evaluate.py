"""Score a trained workdir again, with other settings of the evaluation if wanted."""

import argparse

from vreid_jax.cli.folder_fields import add_folder_arguments, folder_fields
from vreid_jax.errors import InputError
from vreid_jax.files import given_path

EXAMPLE = "vreid evaluate runs/m3d-walkers --set=rerank=True --set=metric=cosine"
REPORTS_UNDERWAY = True  # the evaluation itself prints the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("workdir", help="folder of a run, with a checkpoint")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of config.evaluation"
    )
    add_folder_arguments(parser)
    parser.add_argument("--data-dir", help="where datasets are, if not where the run found them")


def run(flags: argparse.Namespace) -> dict:
    """Evaluate; return the file of results and its content."""
    from vreid_jax import experiment
    from vreid_jax.config import literal, set_field
    from vreid_jax.config.files import read_config
    from vreid_jax.config.run import Evaluation

    workdir = given_path(flags.workdir)
    config = read_config(workdir)
    for assignment in flags.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"--set={assignment} is not FIELD=VALUE")
        set_field(config, f"evaluation.{name}", literal(value))
    if fields := folder_fields(flags):
        if config.evaluation.dataset != "folder":
            raise InputError("--path and --bad-frames are of the dataset folder: add --set=dataset=folder")
        config.data.update(fields)
    if flags.data_dir:
        config.data.data_dir = flags.data_dir
    results = experiment.train_and_evaluate(config, workdir, "evaluate")
    assert results is not None  # only the mode "train" returns nothing
    out = workdir / f"results{Evaluation.parse(config.evaluation).suffix}.json"
    return {"out": str(out), **results.content(), "table": results.table()}


def text(outcome: dict) -> str:
    """Return the file of results; the evaluation has printed the table."""
    return outcome["out"]
