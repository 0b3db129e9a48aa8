"""When the builders are registered with TFDS, for which a toy stands in here."""

import importlib
import importlib.util
import sys

import pytest

from vreid_jax.datasets import registration


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """A toy in TFDS's place that is not imported yet; the list says for which modules the builders were registered."""
    (tmp_path / "toy_tfds.py").write_text("import os\nif 'TOY_TFDS_FAILS' in os.environ:\n    raise ImportError")
    registered = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registration, "_TFDS", "toy_tfds")
    monkeypatch.setattr(registration, "import_builders", lambda: registered.append(sys.modules["toy_tfds"].__name__))
    finders = [finder for finder in sys.meta_path if not isinstance(finder, registration._TfdsFinder)]
    monkeypatch.setattr(sys, "meta_path", finders)
    yield registered
    sys.modules.pop("toy_tfds", None)


def test_the_builders_are_registered_once_when_tfds_is_imported_however_often_it_was_asked_for(registered):
    finders = sys.meta_path.copy()
    registration.register_with_tfds()
    for _ in range(2):
        assert importlib.util.find_spec("toy_tfds") is not None
    assert registered == []
    importlib.import_module("toy_tfds")
    assert registered == ["toy_tfds"]
    assert sys.meta_path == finders


def test_the_builders_are_registered_by_the_import_that_succeeds(registered, monkeypatch):
    registration.register_with_tfds()
    monkeypatch.setenv("TOY_TFDS_FAILS", "1")
    with pytest.raises(ImportError):
        importlib.import_module("toy_tfds")
    monkeypatch.delenv("TOY_TFDS_FAILS")
    importlib.import_module("toy_tfds")
    assert registered == ["toy_tfds"]


def test_the_builders_are_registered_at_once_where_tfds_is_imported_already(registered):
    importlib.import_module("toy_tfds")
    registration.register_with_tfds()
    assert registered == ["toy_tfds"]


def test_two_that_wait_for_tfds_do_not_wait_for_each_other(registered):
    registration.register_with_tfds()
    registration.register_with_tfds()  # as after a reload in a notebook
    importlib.import_module("toy_tfds")
    assert registered == ["toy_tfds", "toy_tfds"]


def test_without_tfds_nothing_is_found(registered, monkeypatch):
    monkeypatch.setattr(registration, "_TFDS", "toy_tfds_of_nobody")
    registration.register_with_tfds()
    assert importlib.util.find_spec("toy_tfds_of_nobody") is None
