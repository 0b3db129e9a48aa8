"""Reading of tables from MATLAB files."""

import io

import numpy as np

from vreid_jax.datasets.manual.files import ManualFiles
from vreid_jax.errors import InputError

_LARGEST = 2**53  # up to here every whole number is a float of its own


def read_table(files: ManualFiles, path: str, key: str) -> np.ndarray:
    """Return the table `key` of a `.mat` file, as int64.

    Raises:
      InputError: the file is not a MATLAB file, has no such table, or the table holds other than whole numbers.
    """
    try:
        from scipy.io import loadmat  # only here, so that built datasets are read without SciPy
    except ImportError as error:
        raise InputError(
            f"{files.where(path)} is read with SciPy, which is not installed: pip install scipy"
        ) from error
    try:
        content = loadmat(io.BytesIO(files.read(path)))
    except InputError:
        raise
    except Exception as error:  # SciPy raises whatever a broken file makes it run into
        raise InputError(f"{files.where(path)} is not a readable MATLAB file ({error}); fetch it again") from error
    names = sorted(name for name in content if not name.startswith("__"))
    if key not in names:
        raise InputError(
            f"{files.where(path)} has no table {key}, only {', '.join(names) or 'nothing'}; fetch it again"
        )
    table = np.asarray(content[key])
    if (
        table.dtype.kind not in "iuf"
        or not table.size
        or not np.all((table == np.rint(table)) & (abs(table) < _LARGEST))
    ):
        raise InputError(f"{files.where(path)}: the table {key} must hold whole numbers; fetch it again")
    return table.astype(np.int64)
