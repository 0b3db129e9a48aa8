"""What a run starts from: which of it counts as trained."""

import numpy as np
import pytest

from vreid_jax import inference
from vreid_jax.experiment.initialisation import initial_variables
from vreid_jax.model_files.weights_file import save_weights

CENTRES = {"params": {"vlad": {"centres": np.ones((2, 3), np.float32)}}}


@pytest.mark.parametrize(("stated", "trained"), [({"system": "vlad"}, ["params/vlad/centres"]), ({}, [])])
def test_only_the_file_of_a_run_counts_as_trained(tmp_path, stated, trained):
    """Weights of another project that were converted for a system say nothing of its own parts, which are random."""
    save_weights(tmp_path / "it.safetensors", CENTRES, "person_vlad", {}, "of nobody", **stated)
    found, kept = initial_variables(str(tmp_path / "it.safetensors"), CENTRES, model="person_vlad")
    np.testing.assert_array_equal(found["params"]["vlad"]["centres"], 1)
    assert kept == trained


def test_nor_does_a_file_made_of_converted_weights(toy, untrained, tmp_path):
    converted, file = untrained(toy), tmp_path / "it.safetensors"  # it does not know a run
    inference.save(converted, file, half=True)
    assert initial_variables(str(file), converted.variables, model="toy")[1] == []
