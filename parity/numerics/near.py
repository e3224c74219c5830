"""The metrics of a tile whose numbers lie near each other, but for a few: no rounding, few passes."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.far import measure_far
from parity.numerics.squares import add_sums, plain_sum_of_squares, sum_of_squares
from parity.numerics.tiles import Grid, Partial, Scratch
from parity.numerics.widen import widen

FEW = 16
"""A tile of one row may hold one element that is not near in so many."""
VERY_FEW = 64
"""Where one element or less in so many differs in its bits, only those are measured."""


def measure_near(
    actual: np.ndarray,
    expected: np.ndarray,
    grid: Grid,
    scratch: Scratch,
    relative_floor: float,
    ulp_floor: int,
) -> tuple[Partial, np.ndarray] | None:
    """Metrics and ULP distances (size,) of a tile; None where too many are not near or not finite.

    actual, expected: (size,) unsigned bits as `grid` lays them out. relative_floor, ulp_floor: what
    a row of several tiles has reached already; a tile of one row that stays below them does not say
    where, or how much. In a tile of one row a few elements may be anything: they are set apart,
    measured by `measure_far`, and counted in; a tile of several rows may hold none.

    Near means that the bits differ by at most 2**(p-1), p the precision. Bits of opposite sign
    differ by more, modulo the width, because magnitudes stay below inf; so signs are equal, the
    difference of bits is the distance in ULPs, and the numbers are within a factor of two, or both
    below twice the smallest normal number. Then their difference is exact in their own format
    (Sterbenz 1974), and finite unless one of them is not.
    """
    format = scratch.format
    distance = scratch.distance[: grid.size]
    signed = distance.view(format.signed)
    np.subtract(actual.view(format.signed), expected.view(format.signed), out=signed)
    np.absolute(signed, out=signed)
    ulp = grid.greatest(distance)
    farthest = int(ulp[0] if grid.rows == 1 else ulp.max())
    near = farthest <= _reach(scratch)
    differing = grid.count_nonzero(distance, scratch.mask)
    if grid.rows == 1 and 0 < int(differing[0]) * VERY_FEW <= grid.size:
        found = _measure_very_few(actual, expected, distance, grid, scratch)
        if found is not None:
            return found, distance
    difference = scratch.first[: grid.size]
    if format.dtype.itemsize == 2:
        finite = _finite(actual, scratch) and _finite(expected, scratch)
        if finite and farthest == 0:
            return _equal(grid, ulp), distance
        left = widen(actual.view(np.int16), format, difference)
        right = widen(expected.view(np.int16), format, scratch.second[: grid.size])
    else:
        left, right = actual.view(format.dtype), expected.view(format.dtype)
    np.subtract(left, right, out=difference)
    np.absolute(difference, out=difference)
    high = grid.greatest(difference)
    if format.dtype.itemsize > 2:
        finite = math.isfinite(high[0] if grid.rows == 1 else high.max())
        if finite and farthest == 0:
            return _equal(grid, ulp), distance
    places = None
    if not (near and finite):
        places = _places_apart(actual, expected, difference, grid, scratch, finite)
        if places is None:
            return None
        apart, distance_apart = measure_far(actual[places], expected[places], Grid(1, places.size), format)
        counted = np.count_nonzero(distance[places])
        distance[places], difference[places] = 0, 0.0
        ulp, high = grid.greatest(distance), grid.greatest(difference)
    high = high.astype(np.float64)
    relative = _relative(difference, right, expected, ulp, grid, scratch, relative_floor)
    if format.dtype.itemsize == 8:
        squares, exponent = sum_of_squares(grid.of(difference), high)
    else:
        wide = scratch.wide[: grid.size]
        np.copyto(wide, difference)
        squares, exponent = plain_sum_of_squares(grid.of(wide)), np.zeros(grid.rows, np.int64)
    nonfinite = opposite_zeros = nothing = np.zeros(grid.rows, np.int64)
    if places is not None:
        distance[places] = distance_apart
        differing = differing + (np.count_nonzero(distance_apart) - counted)
        ulp, high = np.maximum(ulp, apart.ulp), np.maximum(high, apart.high)
        relative = np.maximum(relative, apart.relative)
        squares, exponent = add_sums(np.r_[squares, apart.squares], np.r_[exponent, apart.exponent])
        nonfinite, opposite_zeros = apart.nonfinite, apart.opposite_zeros
    below = grid.rows == 1 and int(ulp[0]) <= ulp_floor
    worst = nothing - 1 if below else grid.worst(distance, ulp)
    return Partial(differing, high, relative, ulp, squares, exponent, worst, nonfinite, opposite_zeros), distance


def _measure_very_few(
    actual: np.ndarray, expected: np.ndarray, distance: np.ndarray, grid: Grid, scratch: Scratch
) -> Partial | None:
    """Metrics of a tile of one row out of the elements whose bits differ; None if another is not finite."""
    format = scratch.format
    if format.dtype.itemsize == 2:
        finite = _finite(actual, scratch) and _finite(expected, scratch)
    else:
        difference = scratch.first[: grid.size]
        np.subtract(actual.view(format.dtype), expected.view(format.dtype), out=difference)
        # Of equal bits, only those of inf and NaN have a difference that is not 0: it is NaN.
        finite = not math.isnan(np.maximum.reduce(difference))
    if not finite:
        return None
    places = np.not_equal(distance, 0, out=scratch.mask[: grid.size]).nonzero()[0]
    found, distance[places] = measure_far(actual[places], expected[places], Grid(1, places.size), format)
    worst = np.where(found.worst < 0, -1, places[found.worst])
    return found._replace(worst=worst)


def _reach(scratch: Scratch) -> int:
    return 1 << (scratch.format.precision - 1)


def _places_apart(
    actual: np.ndarray, expected: np.ndarray, difference: np.ndarray, grid: Grid, scratch: Scratch, finite: bool
) -> np.ndarray | None:
    """Where elements are not near or not finite; None where these are many, or in many rows. finite: all are."""
    if grid.rows > 1:
        return None
    format = scratch.format
    apart = scratch.mask[: grid.size]
    np.greater(scratch.distance[: grid.size], format.unsigned.type(_reach(scratch)), out=apart)
    if not finite and format.dtype.itemsize == 2:
        for side in (actual, expected):
            magnitude = side & format.unsigned.type(format.sign_bit - 1)
            apart |= magnitude >= format.unsigned.type(format.infinity_bits)
    elif not finite:
        apart |= ~np.isfinite(difference)
    places: np.ndarray = apart.nonzero()[0]
    return places if places.size * FEW <= grid.size else None


def _finite(bits: np.ndarray, scratch: Scratch) -> bool:
    format = scratch.format
    magnitudes = scratch.first.view(format.unsigned)[: len(bits)]
    np.bitwise_and(bits, format.unsigned.type(format.sign_bit - 1), out=magnitudes)
    return int(np.maximum.reduce(magnitudes)) < format.infinity_bits


def _equal(grid: Grid, ulp: np.ndarray) -> Partial:
    zero, nothing = np.zeros(grid.rows), np.zeros(grid.rows, np.int64)
    return Partial(nothing, zero, zero, ulp, zero, nothing, nothing - 1, nothing, nothing)


def _relative(
    difference: np.ndarray,
    right: np.ndarray,
    expected: np.ndarray,
    ulp: np.ndarray,
    grid: Grid,
    scratch: Scratch,
    floor: float,
) -> np.ndarray:
    """Greatest ``difference / |expected|`` of each row, rounded once to float64.

    float32 quotients find the candidates: rounding keeps the order, so the greatest is among those
    whose float32 quotient is the greatest. 0/0 is NaN, which fmax passes over.
    """
    quotient = scratch.second[: grid.size]
    np.absolute(right, out=quotient)
    np.divide(difference, quotient, out=quotient)
    top = grid.greatest(quotient, np.fmax)
    if quotient.dtype == np.float64:
        known: np.ndarray = np.fmax(top, 0.0)
        return known
    relative = np.zeros(grid.rows)
    if grid.rows == 1 and float(top[0]) * (1 + 2.0**-22) < floor:
        return relative
    hit = scratch.mask[: grid.size]
    np.equal(grid.of(quotient), np.where(ulp > 0, top, np.float32(np.nan))[:, None], out=grid.of(hit))
    in_place = scratch.format.dtype.itemsize == 4
    if in_place and grid.rows == 1 and int(np.count_nonzero(hit)) * VERY_FEW > grid.size:
        # Many ties: one pass over all, rather than as many temporary numbers. (16-bit numbers were
        # widened into the memory of their quotients, and are gone.)
        exact = scratch.wide[: grid.size]
        np.absolute(right, out=quotient)
        np.divide(difference, quotient, out=exact, dtype=np.float64)
        return np.asarray(np.fmax.reduce(exact, keepdims=True))
    places = hit.nonzero()[0]
    divisor = np.abs(expected[places].view(scratch.format.dtype).astype(np.float64))
    np.maximum.at(relative, grid.rows_of(places), difference[places].astype(np.float64) / divisor)
    return relative
