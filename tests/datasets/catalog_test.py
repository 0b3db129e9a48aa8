import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from vreid_jax import config, retrieval
from vreid_jax.datasets import catalog, load_builder
from vreid_jax.datasets.manual.builder import ManualBuilder
from vreid_jax.datasets.walkers.walkers_dataset_builder import Builder
from vreid_jax.errors import InputError


@pytest.mark.parametrize("dataset", catalog.DATASETS.values(), ids=catalog.DATASETS)
def test_a_row_says_what_its_builder_is(dataset):
    builder = importlib.import_module(f"vreid_jax.datasets.{dataset.module}").Builder
    assert builder.name == dataset.builder
    assert issubclass(builder, ManualBuilder) == dataset.by_hand
    assert not dataset.default_config or dataset.default_config in builder.builder_configs
    if dataset.num_splits > 1:
        assert list(builder.builder_configs) == [f"split_{number}" for number in range(dataset.num_splits)]


@pytest.mark.parametrize("dataset", catalog.DATASETS.values(), ids=catalog.DATASETS)
def test_a_row_names_protocols_that_exist(dataset):
    assert {retrieval.protocols.get(name).num_splits for name in dataset.protocols} == {dataset.num_splits}


def test_what_the_rows_say():
    assert list(catalog.DATASETS) == ["walkers", "mars", "ilids_vid", "prid2011", "duke_video", "folder"]
    assert catalog.DATASETS["walkers"].default_name == "walkers/small"
    assert catalog.DATASETS["mars"].default_name == "mars_video"
    assert config.SMALL == ("walkers", "folder")
    assert config.NUM_SPLITS == {"ilids_vid": 10, "prid2011": 10}
    assert catalog.default_protocols("mars") == ("mars", "mars_query_free")
    assert catalog.default_protocols("walkers") == ("walkers",)


def test_every_size_of_walkers_is_named_where_people_look_for_it():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name, size in Builder.builder_configs.items():
        assert f'"walkers/{name}"' in load_builder.__doc__
        assert f"`walkers/{name}`" in page
        assert size.description
    wild = Builder.builder_configs["wild"]
    people = f"{wild.size.train_identities + wild.size.test_identities:,} people"
    assert people in wild.description
    assert f"128x64, {people}" in page


def test_a_builders_name_leads_to_its_dataset():
    assert catalog.of_builder("walkers/jitter") is catalog.DATASETS["walkers"]
    assert catalog.of_builder("prid2011_video/split_3") is catalog.DATASETS["prid2011"]
    assert catalog.of_builder("mars") is None
    assert config.dataset_of("mars_video") == "mars"
    assert config.dataset_of("mine/large") == "mine"


def test_a_dataset_of_the_users_own_must_name_its_protocols():
    with pytest.raises(InputError, match=r"dataset 'mine' has no default protocols.*name its protocols in evaluation"):
        catalog.default_protocols("mine")


@pytest.mark.parametrize(
    "module", ["vreid_jax.datasets.catalog", "vreid_jax.config", "vreid_jax.datasets.video.tracks"]
)
def test_what_needs_no_dataset_does_not_wait_for_tfds(module):
    code = f"import {module}, sys; assert not {{'tensorflow_datasets', 'jax', 'flax'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "imports",
    [
        "import tensorflow_datasets, vreid_jax.datasets",
        "import vreid_jax.datasets, tensorflow_datasets",
        "import vreid_jax.config, tensorflow_datasets",
        "from vreid_jax.datasets import loading",
        "from vreid_jax.datasets import load_builder",
    ],
)
def test_tfds_knows_every_builder_whatever_is_imported_first(imports):
    names = [dataset.builder for dataset in catalog.DATASETS.values()]
    code = f"""
{imports}
import sys
import tensorflow_datasets as tfds
assert [tfds.builder_cls(name).name for name in {names}] == {names}
assert not any("_TfdsFinder" in str(finder) for finder in sys.meta_path)
assert not {{"jax", "flax", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
