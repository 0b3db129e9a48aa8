"""What the tests of foreign weights share: the reading and filling of parity vectors."""

import importlib.util
from pathlib import Path

import pytest

_FILE = Path(__file__).parents[1] / "golden" / "golden_state.py"


@pytest.fixture(scope="session")
def golden():
    spec = importlib.util.spec_from_file_location("golden_state", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
