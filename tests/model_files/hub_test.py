"""Addresses on the hub, and files that go there and come back through a hub that is a folder."""

import inspect
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

import vreid_jax
from vreid_jax import models, pretrained
from vreid_jax.cli import command
from vreid_jax.errors import InputError
from vreid_jax.experiment import initialisation
from vreid_jax.inference.upload import upload
from vreid_jax.model_files import hub
from vreid_jax.model_files.weights_file import preprocessing, read_metadata


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://me/m3d", ("me/m3d", None, "model.safetensors")),
        ("hf://me/m3d@v1.0", ("me/m3d", "v1.0", "model.safetensors")),
        ("hf://me/m3d/small.safetensors", ("me/m3d", None, "small.safetensors")),
        ("hf://me/m-3.d@main/a/b.safetensors", ("me/m-3.d", "main", "a/b.safetensors")),
    ],
)
def test_addresses_have_a_repository_a_revision_and_a_file(address, parts):
    found = hub.parse(address)
    assert (found.repo, found.revision, found.file) == parts
    assert hub.parse(str(found)) == found


@pytest.mark.parametrize("address", ["hf://m3d", "hf://me/m3d/", "hf://me/m3d/notes.txt", "hf:/me/m3d", "me/m3d"])
def test_another_address_is_one_sentence(address):
    with pytest.raises(InputError, match="is not an address on the hub; write hf://OWNER/NAME"):
        hub.parse(address)


def test_a_path_of_this_machine_is_not_an_address(tmp_path):
    assert hub.local_path(str(tmp_path)) == tmp_path


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A hub that is a folder; every call has to fit the signature of the real one."""
    real = pytest.importorskip("huggingface_hub").HfApi
    root = tmp_path / "hub"

    class FolderHub:
        def __getattribute__(self, name):
            own = object.__getattribute__(self, name)

            def call(*arguments, **fields):
                inspect.signature(getattr(real, name)).bind(self, *arguments, **fields)
                return own(*arguments, **fields)

            return call

        def repo_exists(self, repo_id):
            return (root / repo_id).is_dir()

        def file_exists(self, repo_id, filename, revision=None):
            return (root / repo_id / filename).is_file()

        def create_repo(self, repo_id, private=False, exist_ok=False):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def create_commit(self, repo_id, operations, commit_message, revision=None):
            for part in operations:
                with part.as_file() as opened:
                    (root / repo_id / part.path_in_repo).write_bytes(opened.read())
            return commit_message

        def hf_hub_download(self, repo_id, filename, revision=None):
            file = root / repo_id / filename
            if not file.is_file():
                raise FileNotFoundError(f"no {filename} in {repo_id}\nmore about it")
            return shutil.copy(file, tmp_path / "downloaded.safetensors")

    found = FolderHub()
    monkeypatch.setattr(hub, "hub_api", lambda: found)
    return root


@pytest.fixture(scope="module")
def c3d():
    """Random variables of the smallest backbone."""
    clips = jax.ShapeDtypeStruct((1, 8, 64, 32, 3), jnp.float32)
    shapes = jax.eval_shape(models.create("c3d_small", width=2).init, jax.random.key(0), clips)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.random(x.shape, np.float32), dict(shapes))


@pytest.fixture
def file(tmp_path, c3d):
    path = tmp_path / "c3d.safetensors"
    clip = {"kind": "evenly", "length": 8, "stride": 2, "num_clips": 4}
    seen = preprocessing(64, 32, (0.5, 0.25, 0.125), (0.5, 0.5, 0.25), {"feature": clip})
    scores = {
        "walkers": {
            "rank1": 0.5,
            "rank5": 0.75,
            "mAP": 0.25,
            "num_queries": 18,
            "num_valid_queries": 18,
            "num_gallery": 21,
        }
    }
    pretrained.save_weights(
        path, c3d, "c3d_small", {"width": 2}, "Apache-2.0", preprocessing=seen, scores=scores, dataset="walkers",
        system="c3d", step=7,
    )  # fmt: skip
    return path


def test_a_file_goes_to_the_hub_with_its_card_and_comes_back(api, file, c3d, capsys):
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 0
    assert "hf://me/c3d/model.safetensors" in capsys.readouterr().out
    assert (api / "me" / "c3d" / "model.safetensors").read_bytes() == file.read_bytes()
    card = (api / "me" / "c3d" / "README.md").read_text()
    assert 'vreid_jax.load("hf://me/c3d/model.safetensors")' in card
    loaded = vreid_jax.load("hf://me/c3d")
    assert (loaded.name, dict(loaded.fields), loaded.mean) == ("c3d_small", {"width": 2}, (0.5, 0.25, 0.125))
    assert (loaded.config.data.height, loaded.config.data.width) == (64, 32)
    assert loaded.about["scores"]["walkers"]["rank1"] == 0.5
    jax.tree.map(np.testing.assert_array_equal, loaded.variables["params"], c3d["params"])
    assert read_metadata(hub.local_path("hf://me/c3d"))["library_version"] == vreid_jax.__version__


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(api, file, capsys):
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 0
    (api / "me" / "c3d" / "model.safetensors").write_bytes(b"precious")
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 2
    assert "is there already: name another file, or allow it with --replace" in capsys.readouterr().err
    assert (api / "me" / "c3d" / "model.safetensors").read_bytes() == b"precious"
    assert command.main(["upload", str(file), "hf://me/c3d", "--replace"]) == 0
    assert (api / "me" / "c3d" / "model.safetensors").read_bytes() == file.read_bytes()


def test_a_card_that_is_there_stays_unless_it_may_be_replaced(api, file, capsys):
    own = api / "me" / "c3d" / "README.md"
    own.parent.mkdir(parents=True)
    own.write_text("my own words")
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 2
    assert "hf://me/c3d/README.md is there already: name another file" in capsys.readouterr().err
    assert [path.name for path in own.parent.iterdir()] == ["README.md"]
    assert own.read_text() == "my own words"
    assert command.main(["upload", str(file), "hf://me/c3d", "--replace"]) == 0
    assert 'load("hf://me/c3d/model.safetensors")' in own.read_text()


def test_a_second_model_of_a_repository_has_a_card_of_its_own(api, file, capsys):
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 0
    first = (api / "me" / "c3d" / "README.md").read_text()
    assert command.main(["upload", str(file), "hf://me/c3d/second.safetensors"]) == 0
    assert (api / "me" / "c3d" / "README.md").read_text() == first
    assert 'load("hf://me/c3d/second.safetensors")' in (api / "me" / "c3d" / "second.md").read_text()


def test_a_damaged_file_does_not_go_to_the_hub(api, file, capsys):
    rest = {name: value for name, value in load_file(file).items() if not name.endswith("bias")}
    pretrained.save_weights(file, unflatten_dict(rest, sep="/"), "c3d_small", {"width": 2}, "MIT")
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 2
    assert f"{file} is damaged: " in capsys.readouterr().err
    assert not (api / "me").exists()


def test_a_network_that_is_not_there_is_one_sentence(api, file, capsys, monkeypatch):
    from huggingface_hub import errors

    class NoNetwork(errors.HfHubHTTPError.__bases__[0]):  # what the installed client's own errors are made of
        pass

    def unreachable(*_, **__):
        raise NoNetwork("[Errno -2] Name or service not known")

    found = hub.hub_api()
    monkeypatch.setattr(type(found), "repo_exists", unreachable)
    monkeypatch.setattr(type(found), "__getattribute__", object.__getattribute__)
    assert command.main(["upload", str(file), "hf://me/c3d"]) == 2
    said = capsys.readouterr().err
    assert "cannot be written: [Errno -2] Name or service not known" in said
    assert said.count("\n") == 1


def test_what_the_hub_does_not_have_is_one_sentence(api, tmp_path, capsys):
    command.main(["embed", "walkers/tiny", "--model=hf://me/none", f"--out={tmp_path / 'a.parquet'}"])
    said = capsys.readouterr().err
    assert "hf://me/none/model.safetensors cannot be downloaded: no model.safetensors in me/none\n" in said
    assert len(said.splitlines()) == 1
    (tmp_path / "notes.pth").write_text("mine")
    assert command.main(["upload", str(tmp_path / "notes.pth"), "hf://me/c3d"]) == 2
    assert "was not written by this library: make it with `vreid convert`" in capsys.readouterr().err


def test_a_run_starts_from_the_hub(api, file, c3d):
    upload(file, "hf://me/c3d")
    found, _ = initialisation.initial_variables("hf://me/c3d", jax.tree.map(np.zeros_like, c3d), model="c3d_small")
    jax.tree.map(np.testing.assert_array_equal, found, c3d)


def test_the_card_beside_a_file_says_what_its_metadata_say(file):
    from vreid_jax.model_files.model_card import write_card

    card = write_card(file).read_text()
    assert card.startswith("---\nlibrary_name: vreid_jax\nlicense: apache-2.0\ntags:\n")
    assert "# c3d, trained on walkers" in card
    assert "after 7 training steps" in card
    assert "64 x 32 pixels" in card
    assert "mean: 0.5, 0.25, 0.125; std: 0.5, 0.5, 0.25; scale: 1/255" in card
    assert "stream `feature`: 8 frames, stride 2" in card
    assert "| walkers | 50.0 | 75.0 | – | 25.0 | 18 | 21 |" in card


def test_terms_in_words_are_named_in_the_front_matter_and_said_in_the_card(file):
    from vreid_jax.model_files.model_card import model_card

    card = model_card(read_metadata(file) | {"licence": "for research: ask first"}, "m.safetensors")
    assert "license: other\nlicense_name: see-model-card\n" in card
    assert "## Licence\n\nfor research: ask first\n" in card


def test_a_card_names_the_variant_of_the_dataset():
    from vreid_jax.model_files.model_card import model_card

    about = {"model": "toy", "dataset": "walkers", "library_version": "1", "licence": "MIT", "fields": {}}
    assert "# toy, trained on walkers\n" in model_card(about, "toy.safetensors")
    wild = {**about, "config": {"data": {"name": "walkers/wild"}}}
    assert "# toy, trained on walkers/wild\n" in model_card(wild, "toy.safetensors")
