"""Sums of squares that neither underflow nor overflow."""

from __future__ import annotations

import numpy as np

SAFE_LOW = 2.0**-400
SAFE_HIGH = 2.0**450
_BLAS_BLOCK = 8192


def sum_of_squares(values: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row sums of squares as ``total * 4**exponent``.

    values: (rows, n) float64, not negative, finite; scaled in place where needed. high: (rows,)
    greatest value of each row. Returns total (rows,) float64 and exponent (rows,) int64, which is 0
    where the greatest value of the row lies in [2**-400, 2**450]: then at most 2**100 squares fit,
    and those that underflow are less than 2**-200 of the sum. Elsewhere values are first divided by
    a power of two that brings the greatest into [1/2, 1).
    Source: Blue 1978, "A Portable Fortran Program to Find the Euclidean Norm of a Vector".
    """
    exponent = np.zeros(len(high), np.int64)
    unsafe = (high > 0) & ((high < SAFE_LOW) | (high > SAFE_HIGH))
    if unsafe.any():
        exponent[unsafe] = np.frexp(high[unsafe])[1]
        values[unsafe] = np.ldexp(values[unsafe], -exponent[unsafe, None])
    return plain_sum_of_squares(values), exponent


def plain_sum_of_squares(values: np.ndarray) -> np.ndarray:
    """Row sums of squares of (rows, n) float64 whose squares can neither underflow nor overflow."""
    if values.strides[0] < values.strides[1]:
        across: np.ndarray = np.square(values).sum(axis=1)
        return across
    rows, columns = values.shape
    # OpenBLAS starts threads of its own for dot products of more than 10000 elements.
    whole = columns - columns % _BLAS_BLOCK
    total: np.ndarray = np.zeros(rows)
    if whole:
        blocks = values[:, :whole].reshape(rows, -1, _BLAS_BLOCK)
        total = _dots(blocks).sum(axis=1)
    if whole < columns:
        total = total + _dots(values[:, whole:])
    return total


def _dots(values: np.ndarray) -> np.ndarray:
    products: np.ndarray = np.matmul(values[..., None, :], values[..., :, None])
    return products[..., 0, 0]


def root_mean_square(total: np.ndarray, exponent: np.ndarray, size: int) -> np.ndarray:
    """``sqrt(sum / size)`` of sums ``total * 4**exponent``; float64, (rows,); 0 where size is 0."""
    root: np.ndarray = np.ldexp(np.sqrt(total / max(size, 1)), exponent)
    return root


def add_sums(total: np.ndarray, exponent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One sum out of the sums ``total * 4**exponent`` of the pieces of a row, each (pieces,)."""
    held = total > 0
    top = exponent[held].max() if held.any() else 0
    return np.ldexp(total, 2 * (exponent - top)).sum(keepdims=True), np.array([top], np.int64)
