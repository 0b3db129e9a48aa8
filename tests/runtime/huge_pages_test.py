import subprocess
import sys

import pytest

from vreid_jax.runtime import huge_pages


@pytest.fixture
def _glibc(monkeypatch):
    monkeypatch.setattr(huge_pages, "_glibc", lambda: (2, 35))


@pytest.mark.usefixtures("_glibc")
def test_other_settings_stay():
    environment = huge_pages.with_huge_pages({"A": "1", "GLIBC_TUNABLES": "glibc.cpu.x=1"}, "always [madvise] never")
    assert environment == {"A": "1", "GLIBC_TUNABLES": "glibc.cpu.x=1:glibc.malloc.hugetlb=1"}


@pytest.mark.usefixtures("_glibc")
@pytest.mark.parametrize(
    ("tunables", "offered"),
    [
        ("glibc.malloc.hugetlb=0", "always [madvise] never"),
        ("", "[always] madvise never"),
        ("", "always madvise [never]"),
        ("", ""),
    ],
)
def test_nothing_is_changed_where_it_is_decided_already(tunables, offered):
    assert huge_pages.with_huge_pages({"GLIBC_TUNABLES": tunables}, offered) is None


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(huge_pages.os, "confstr", lambda name: None, raising=False)
    assert huge_pages.with_huge_pages({}, "always [madvise] never") is None


def test_a_process_starts_anew_once_with_its_arguments(tmp_path):
    offered = tmp_path / "enabled"
    offered.write_text("always [madvise] never")
    code = f"""
import os, pathlib, sys
from vreid_jax.runtime import huge_pages
huge_pages._OFFERED, huge_pages._glibc = pathlib.Path({str(offered)!r}), lambda: (2, 35)
before = os.environ.get("GLIBC_TUNABLES", "nothing")
print(before, sys.argv[1:], flush=True)
huge_pages.restart_with_huge_pages()
"""
    done = subprocess.run([sys.executable, "-c", code, "a b", "--c"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["nothing ['a b', '--c']", "glibc.malloc.hugetlb=1 ['a b', '--c']"]
