"""Validation of array arguments: NumPy or JAX in, checked once, NumPy out."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy import typing as npt
from numpy.typing import DTypeLike

from vreid_jax.errors import InputError

EXACT = 2**53  # smaller whole numbers are what they are in float64

# NumPy names complex alone, which beartype, unlike a type checker, does not extend to the other numbers.
ArrayLike: TypeAlias = npt.ArrayLike | int | float

# A squared distance is at most four times the larger squared norm of its two ends; the other factor of two leaves room for rounding.
LARGEST_SQUARE = float(np.finfo(np.float32).max) / 8


def features(
    name: str, values: ArrayLike, dtype: DTypeLike = np.float32, require_finite_squares: bool = False
) -> np.ndarray:
    """Return `values` as a finite array [N, D] of `dtype`, with N, D > 0.

    Args:
      name: what error messages call the array.
      values: the features.
      dtype: of the result.
      require_finite_squares: as for `check_finite`.

    Raises:
      InputError: for another shape, NaN or infinity.
    """
    array = matrix(name, values).astype(dtype, copy=False)
    check_finite(name, array, require_finite_squares=require_finite_squares)
    return array


def matrix(name: str, values: ArrayLike) -> np.ndarray:
    """Return `values` as an array [N, D] with N, D > 0, without reading them: they may be memory-mapped."""
    array: np.ndarray = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must be a [N, D] array with at least one row and column, not of shape {array.shape}.")
    return array


def check_finite(name: str, array: np.ndarray, first_row: int = 0, require_finite_squares: bool = False) -> None:
    """Raise `InputError` if `array` [N, D] contains NaN or infinity.

    Args:
      name: what the message calls the array.
      array: the array, or a block of its rows.
      first_row: the number of the block's first row in the whole array.
      require_finite_squares: also refuse a row so long that a squared distance to it may overflow float32.
    """
    # A row's sum of squares is not finite if one of its values is not: one pass without a temporary array. Finite values
    # may overflow as well, so suspicious rows are looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("nd,nd->n", array, array)
    bad = [row for row in np.flatnonzero(~np.isfinite(norms)) if not np.isfinite(array[row]).all()]
    if bad:
        raise InputError(
            f"{name} has NaN or infinite values in {len(bad)} rows, the first is row {first_row + bad[0]}."
        )
    if require_finite_squares and len(norms) and not norms.max() <= LARGEST_SQUARE:
        row = first_row + int(np.argmax(norms))
        raise InputError(
            f"{name} has values too large for squared distances in float32, as in row {row}; scale the features down."
        )


def pair_of_features(
    name_a: str,
    a: ArrayLike,
    name_b: str,
    b: ArrayLike,
    dtype: DTypeLike = np.float32,
    require_finite_squares: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both arguments as `features` does, after checking that they have the same dimension."""
    first = features(name_a, a, dtype, require_finite_squares)
    second = features(name_b, b, dtype, require_finite_squares)
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"{name_a} has {first.shape[1]} dimensions and {name_b} has {second.shape[1]}; they must agree."
        )
    return first, second


def distances(name: str, values: ArrayLike | None) -> np.ndarray:
    """Return `values` as a matrix [Q, G] without NaN, Q, G > 0, in float32 or float64, which keep its order."""
    array: np.ndarray = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must be a [Q, G] array with at least one row and column, not of shape {array.shape}.")
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
        if (np.abs(array) >= EXACT).any():
            raise InputError(
                f"{name} has integers from 2**53 on, some of which float64 does not tell apart: divide them."
            )
    elif array.dtype.kind == "c" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise InputError(f"{name} is of {array.dtype}, which is not compared as it is: pass float64.")
    elif array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):  # float16 and bfloat16 are exact in float32
        array = array.astype(np.float32)
    # The sum is NaN if any value is; infinities of both signs make it NaN too and only cost the second look.
    with np.errstate(invalid="ignore", over="ignore"):
        suspicious = np.isnan(array.sum())
    if suspicious and np.isnan(array).any():
        row, column = np.argwhere(np.isnan(array))[0]
        raise InputError(f"{name} has NaN values, the first at row {row}, column {column}; check the features.")
    return array


def identities(name: str, values: ArrayLike, length: int) -> np.ndarray:
    """Return `values` as int64 [length]; raise `InputError` for another shape and for anything but integers."""
    array: np.ndarray = np.asarray(values)
    if array.shape != (length,):
        raise InputError(f"{name} must have one entry for each of {length} rows, not shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be integers, not {array.dtype}.")
    return array.astype(np.int64)


def tracklet_ids(values: Iterable[object]) -> np.ndarray:
    """Return `values`, str or bytes, as an array of str [N]."""
    array = np.asarray([value.decode() if isinstance(value, bytes) else str(value) for value in values])
    return array.reshape(-1)
