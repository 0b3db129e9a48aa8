"""What `tfds.load` reads with a configuration; a toy stands in for TensorFlow, which `tests/foreign_project_test.py` has."""

import types

import pytest
import tensorflow_datasets as tfds

from vreid_jax.datasets import tracklet_builder
from vreid_jax.errors import InputError


class ToyDataset(list):
    """What `tf.data.Dataset` does to the indices of records."""

    def shard(self, num_shards, index):
        return ToyDataset(self[index::num_shards])

    def shuffle(self, buffer_size, seed, reshuffle_each_iteration):
        return ToyDataset(self[::-1])

    def repeat(self):
        return ToyDataset([*self, *self])

    def map(self, function, num_parallel_calls):
        return self

    def with_options(self, options):
        return self


@pytest.fixture
def read(tiny_builder, monkeypatch):
    """Return the indices of the 18 records of a split that are read with fields of `tfds.ReadConfig`."""
    monkeypatch.setattr(tracklet_builder.example_parser, "ExampleParser", lambda specs: None)
    toy = types.SimpleNamespace(range=lambda count: ToyDataset(range(count)))
    monkeypatch.setattr(tracklet_builder, "tf", types.SimpleNamespace(data=types.SimpleNamespace(Dataset=toy)))

    def read(shuffle=False, **fields):
        without_tensorflow = dict.fromkeys(
            ("num_parallel_calls_for_decode", "num_parallel_calls_for_interleave_files"), 1
        )
        config = tfds.ReadConfig(options="some", **without_tensorflow, **fields)
        return tiny_builder._as_dataset("query", read_config=config, shuffle_files=shuffle)

    return read


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_workers_of_an_input_context_read_tracklets_of_their_own(read, shuffle):
    contexts = [types.SimpleNamespace(num_input_pipelines=4, input_pipeline_id=worker) for worker in range(4)]
    workers = [read(shuffle, input_context=context) for context in contexts]
    assert workers == [list(range(worker, 18, 4))[:: -1 if shuffle else 1] for worker in range(4)]


def test_tracklets_are_repeated_where_files_would_be(read):
    assert read() == list(range(18))
    assert read(repeat_filenames=True) == 2 * list(range(18))


def test_ids_that_are_names_of_files_are_refused(read):
    with pytest.raises(
        InputError, match="add_tfds_id is True; walkers has no such ids: its examples have a tracklet_id"
    ):
        read(add_tfds_id=True)
