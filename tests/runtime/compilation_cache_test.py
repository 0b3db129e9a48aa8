"""Where compiled programs are kept: a folder per user and version, and only if nobody is against it."""

import jax
import pytest

from vreid_jax.runtime import compilation_cache
from vreid_jax.runtime.compilation_cache import VARIABLE, use_compilation_cache
from vreid_jax.runtime.xla_flags import ONEDNN_FLAG


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
    monkeypatch.setenv(VARIABLE, "")  # so that what is set is taken back
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XLA_FLAGS", "")
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_names_the_versions(home, monkeypatch):
    use_compilation_cache()
    folder = compilation_cache.cache_folder()
    assert folder.is_dir()
    assert folder.parent == home / "cache" / "vreid_jax"
    assert f"jax{jax.__version__}-" in folder.name
    assert compilation_cache.os.environ[VARIABLE] == str(folder) == jax.config.jax_compilation_cache_dir


@pytest.mark.parametrize(("name", "value"), [(VARIABLE, "/elsewhere"), ("JAX_ENABLE_COMPILATION_CACHE", "false")])
def test_the_users_own_setting_stays(home, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    use_compilation_cache()
    assert compilation_cache.os.environ.get(VARIABLE) == (value if name == VARIABLE else None)
    assert not (home / "cache").exists()


@pytest.mark.parametrize(("version", "level"), [((0, 10, 1), "3"), ((0, 11, 0), None)])
def test_programs_from_the_cache_are_read_without_a_word(home, monkeypatch, version, level):
    monkeypatch.setattr(compilation_cache.jaxlib.version, "__version_info__", version)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "")  # so that what is set is taken back
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    use_compilation_cache()
    assert compilation_cache.os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level


def test_programs_that_call_onednn_are_not_kept(home, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"{ONEDNN_FLAG}=true")
    use_compilation_cache()
    assert VARIABLE not in compilation_cache.os.environ


def test_without_a_home_that_can_be_written_there_is_none(home):
    (home / "cache").write_text("a file where the folder should be")
    use_compilation_cache()
    assert VARIABLE not in compilation_cache.os.environ
