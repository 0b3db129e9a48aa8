"""Arrays at the door of this room: everything comes in as NumPy or JAX, is checked once, and leaves as NumPy."""

import numpy as np

from vreid_jax.errors import InputError

# A squared distance is at most four times the larger squared norm of its two ends; the rest is for rounding.
LARGEST_SQUARE = float(np.finfo(np.float32).max) / 8


def features(name: str, values, dtype=np.float32, squares: bool = False) -> np.ndarray:
    """`values` as a finite array [N, D] of `dtype` with N, D > 0; else an `InputError` that calls it `name`.

    `squares` is that of `finite`.
    """
    array = table(name, values).astype(dtype, copy=False)
    finite(name, array, squares=squares)
    return array


def table(name: str, values) -> np.ndarray:
    """`values` as an array [N, D] with N, D > 0, its numbers not looked at (they may lie on disk)."""
    array = values if isinstance(values, np.memmap) else np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must be a [N, D] array with at least one row and column, not of shape {array.shape}.")
    return array


def finite(name: str, array: np.ndarray, first_row: int = 0, squares: bool = False) -> None:
    """`InputError` if `array` [N, D] has a value that is not finite; `first_row` is what its row 0 is called.

    With `squares` also if a row is so long that a squared distance to it may not be finite in float32.
    """
    # The sum of squares of a row is not finite if a value is not: one pass, no temporary. It may also overflow, hence
    # the second look.
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("nd,nd->n", array, array)
    bad = [row for row in np.flatnonzero(~np.isfinite(norms)) if not np.isfinite(array[row]).all()]
    if bad:
        raise InputError(
            f"{name} has NaN or infinite values in {len(bad)} rows, the first is row {first_row + bad[0]}."
        )
    if squares and len(norms) and not norms.max() <= LARGEST_SQUARE:
        row = first_row + int(np.argmax(norms))
        raise InputError(
            f"{name} has values too large for squared distances in float32, as in row {row}; scale the features down."
        )


def pair_of_features(
    name_a: str, a, name_b: str, b, dtype=np.float32, squares: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both as `features`, and of the same dimension."""
    a, b = features(name_a, a, dtype, squares), features(name_b, b, dtype, squares)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"{name_a} has {a.shape[1]} dimensions and {name_b} has {b.shape[1]}; they must agree.")
    return a, b


def distances(name: str, values) -> np.ndarray:
    """`values` as a matrix [Q, G] without NaN, Q, G > 0, in a dtype that orders it as given: float32 or float64."""
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must be a [Q, G] array with at least one row and column, not of shape {array.shape}.")
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    elif array.dtype not in (np.float32, np.float64):  # float16 and bfloat16 are exact in float32
        array = array.astype(np.float32)
    # The sum is NaN if any value is; that it may also come from ±inf costs only the second look.
    with np.errstate(invalid="ignore", over="ignore"):
        suspicious = np.isnan(array.sum())
    if suspicious and np.isnan(array).any():
        row, column = np.argwhere(np.isnan(array))[0]
        raise InputError(f"{name} has NaN values, the first at row {row}, column {column}; check the features.")
    return array


def identities(name: str, values, length: int) -> np.ndarray:
    """`values` as int64 [length]; whole numbers only."""
    array = np.asarray(values)
    if array.shape != (length,):
        raise InputError(f"{name} must have one entry for each of {length} rows, not shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be whole numbers, not {array.dtype}.")
    return array.astype(np.int64)


def tracklet_ids(name: str, values) -> np.ndarray:
    """`values`, texts or bytes, as an array of texts [N]."""
    array = np.asarray([value.decode() if isinstance(value, bytes) else str(value) for value in values])
    return array.reshape(-1)
