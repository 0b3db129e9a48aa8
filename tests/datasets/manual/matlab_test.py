"""Tables of MATLAB files: equal to what SciPy reads, for every type, packed or not; and what is refused."""

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.datasets.manual.matlab import read_table
from vreid_jax.errors import InputError


def _read(folder, key="t"):
    with ManualFiles(folder) as files:
        return read_table(files, "t.mat", key)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (7, 4), (2, 3, 4)])
def test_tables_are_those_that_scipy_reads(tmp_path, kind, shape, packed):
    table = np.random.default_rng(0).integers(0, 100, shape).astype(kind)
    savemat(tmp_path / "t.mat", {"other": np.ones((5, 5)), "t": table, "text": "a"}, do_compression=packed)
    found = _read(tmp_path)
    assert found.dtype == np.int64
    assert np.array_equal(found, loadmat(tmp_path / "t.mat")["t"])


def test_a_file_of_a_big_endian_machine_is_read(tmp_path):
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    matrix = element(6, struct.pack(">II", 12, 0)) + element(5, struct.pack(">ii", 1, 2)) + element(1, b"t")
    matrix += element(5, struct.pack(">ii", 3, -4))
    (tmp_path / "t.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + element(14, matrix))
    assert _read(tmp_path).tolist() == [[3, -4]]


@pytest.mark.parametrize(
    "value", [np.array([[1 + 2j]]), "text", {"a": 1}, np.array([[1, "a"]], object), np.zeros((0, 4))]
)
def test_other_than_whole_numbers_is_refused(tmp_path, value):
    savemat(tmp_path / "t.mat", {"t": value})
    with pytest.raises(InputError, match=r"t\.mat: the table t must hold whole numbers"):
        _read(tmp_path)


@pytest.mark.parametrize("number", [np.inf, np.nan, 1e19, 0.5, -(2.0**60)])
def test_a_table_holds_whole_numbers_below_2_to_the_53(tmp_path, number):
    savemat(tmp_path / "t.mat", {"t": np.array([[1.0, number]])})
    with pytest.raises(InputError, match="the table t must hold whole numbers"):
        _read(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, packed):
    savemat(tmp_path / "t.mat", {"t": np.arange(8).reshape(2, 4)}, do_compression=packed)
    whole = (tmp_path / "t.mat").read_bytes()
    for end in range(0, len(whole), 3):
        (tmp_path / "t.mat").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"t.mat (is not a readable MATLAB file|has no table t)"):
            _read(tmp_path)
