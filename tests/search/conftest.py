"""A trained toy model and the gallery of its test set, once for each file that asks for them; and the command."""

import pytest

import vreid_jax
from vreid_jax import experiment
from vreid_jax.cli import command
from vreid_jax.search import embed_gallery, open_source


@pytest.fixture(scope="module")
def workdir(toy_module, data_dir, tmp_path_factory):
    config = toy_module.get_config("walkers")
    config.data.data_dir = str(data_dir)
    config.phases.spatial.total_steps = config.phases.temporal.total_steps = 1
    config.evaluation.baselines = ()
    folder = tmp_path_factory.mktemp("trained") / "run"
    experiment.train_and_evaluate(config, folder)
    return folder


@pytest.fixture(scope="module")
def model(workdir):
    return vreid_jax.load(workdir)


@pytest.fixture(scope="module")
def gallery_file(model, data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery") / "walkers.parquet"
    embed_gallery(model, open_source("walkers/tiny", data_dir=str(data_dir)), out, chunk=8)
    return out


@pytest.fixture
def vreid(capsys):
    """Run the command in this process; return its exit code and what it printed on the two streams."""

    def run(*arguments):
        code = command.main(list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
