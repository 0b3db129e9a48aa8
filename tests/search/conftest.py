"""A trained toy model and the gallery of its test set, once for the files of this folder; and the command."""

import pytest

import vreid_jax
from vreid_jax.search import embed_gallery, open_source


@pytest.fixture(scope="module")
def workdir(finished):
    return finished[0]


@pytest.fixture(scope="session")
def session_model(toy_system, finished_run):
    _, registered = toy_system
    with registered():
        return vreid_jax.load(finished_run[0])


@pytest.fixture(scope="module")
def model(toy_module, session_model):
    return session_model


@pytest.fixture(scope="session")
def gallery_file(toy_system, session_model, data_dir, tmp_path_factory):
    _, registered = toy_system
    out = tmp_path_factory.mktemp("gallery") / "walkers.parquet"
    with registered():
        embed_gallery(session_model, open_source("walkers/tiny", data_dir=str(data_dir)), out, chunk=8)
    return out
