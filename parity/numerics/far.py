"""The metrics of any tile: signs that change, zeros, NaN and inf, numbers many binades apart."""

from __future__ import annotations

import numpy as np

from parity.numerics.formats import Format
from parity.numerics.squares import sum_of_squares
from parity.numerics.tiles import Grid, Partial
from parity.numerics.ulp import distance_of_bits


def measure_far(actual: np.ndarray, expected: np.ndarray, grid: Grid, format: Format) -> tuple[Partial, np.ndarray]:
    """Metrics and ULP distances (size,) of a tile without any assumption; exact, and slower.

    actual, expected: (size,) unsigned bits as `grid` lays them out. Differences are rounded once, to
    float64; where such a difference overflows it is inf, but its quotient and its square are taken
    from the difference of the halves.
    """
    distance = distance_of_bits(actual, expected, format)
    differing = grid.count(distance != 0)
    left, right = (side.view(format.dtype).astype(np.float64) for side in (actual, expected))
    difference = np.subtract(left, right)
    np.absolute(difference, out=difference)
    high = grid.greatest(difference)
    if np.isfinite(high).all():
        nonfinite = np.zeros(grid.rows, np.int64)
        opposite_zeros = grid.count(actual != expected) - differing
        np.absolute(right, out=right)
        quotient = np.divide(difference, right, out=right)
        relative = np.fmax(grid.greatest(quotient, np.fmax), 0.0)
        squares, exponent = sum_of_squares(grid.of(difference), high)
    else:
        unusual = np.maximum(np.abs(left), np.abs(right))
        unusual = np.logical_not(np.isfinite(unusual), out=np.empty(grid.size, np.bool_))
        nonfinite = grid.count(unusual)
        opposite_zeros = grid.count((left == 0) & (right == 0) & (actual != expected))
        difference[unusual & (distance == 0)] = 0.0
        difference[unusual & (distance != 0)] = np.inf
        high = grid.greatest(difference)
        relative = grid.greatest(_quotients(left, right, difference, unusual))
        squares, exponent = _squares(left, right, unusual, grid)
        squares[grid.count(unusual & (distance != 0)) > 0] = np.inf

    ulp = grid.greatest(distance)
    worst = grid.worst(distance, ulp)
    found = Partial(differing, high, relative, ulp, squares, exponent, worst, nonfinite, opposite_zeros)
    return found, distance


def _quotients(left: np.ndarray, right: np.ndarray, difference: np.ndarray, unusual: np.ndarray) -> np.ndarray:
    quotient: np.ndarray = difference / np.abs(right)
    overflow = np.isinf(difference) & ~unusual
    halves = np.abs(left[overflow] * 0.5 - right[overflow] * 0.5)
    quotient[overflow] = halves / np.abs(right[overflow]) * 2.0
    quotient[unusual] = difference[unusual]
    quotient[difference == 0] = 0.0
    return quotient


def _squares(left: np.ndarray, right: np.ndarray, unusual: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the squares of the usual differences, from their halves once one overflows."""
    values = left - right
    values[unusual] = 0.0
    halved = int(np.isinf(values).any())
    if halved:
        values = left * 0.5 - right * 0.5
        values[unusual] = 0.0
    np.absolute(values, out=values)
    squares, exponent = sum_of_squares(grid.of(values), grid.greatest(values))
    return squares, exponent + halved
