"""The toy system of learned clip similarity, trained once for the files of this folder."""

from pathlib import Path

import pytest

from vreid_jax import experiment
from vreid_jax.config import from_file, set_field
from vreid_jax.models import registry

CLIPS_FILE = Path(__file__).parents[1] / "toy_clips_config.py"
BACKBONE = "one_convolution"


@pytest.fixture(scope="session")
def clips_config(data_dir):
    """`make(**changes)` reads the configuration file, which registers its backbone, and sets fields."""

    def make(**changes):
        config = from_file(str(CLIPS_FILE))
        for name, value in {"data.data_dir": str(data_dir), **changes}.items():
            set_field(config, name, value)
        return config

    return make


@pytest.fixture(scope="session")
def finished_clips_run(clips_config, tmp_path_factory):
    """A finished run with two corrupted clips of three, once in a session: workdir, configuration, results."""
    registered = BACKBONE in registry.names()
    config = clips_config(**{"phases.similarity.clip.corrupt": 2})
    workdir = tmp_path_factory.mktemp("clips") / "run"
    found = experiment.train_and_evaluate(config, workdir)
    if not registered:
        registry._ENTRIES.pop(BACKBONE)
    return workdir, config, found


@pytest.fixture(scope="module")
def small(clips_config):
    """`clips_config`, whose backbone is registered while a test file that asks for it runs."""
    clips_config()
    yield clips_config
    registry._ENTRIES.pop(BACKBONE)


@pytest.fixture(scope="module")
def finished_clips(small, finished_clips_run):
    """A finished run and its registered backbone; tests look at the workdir and change copies of it only."""
    return finished_clips_run
