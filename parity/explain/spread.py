"""How the elements of two orbits are spread over distance and magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.comparison.trace import Trace
from parity.explain.residual import distance
from parity.numerics.formats import Format, to_bits
from parity.numerics.jit import bits_of, compiled
from parity.numerics.ulp import NO_DISTANCE

ZERO = -1
"""Magnitude of a zero."""

NONE = -1
"""Distance where no number of ULPs is meant: NaN or inf on one side."""

_DISTANCES = 66
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Spread:
    """Elements of one quantity, of all steps, counted by magnitude and by distance.

    rows: (magnitude, distance, elements), those with elements, in rising order. magnitude: exponent field of the
    expected value, 0 for subnormals, ZERO for zeros, all ones for inf and NaN; `exponent_of` says which power of two
    that is. distance: bit length of the distance in ULP, so 0 is equal, 1 is 1 ULP, n is 2**(n-1) to 2**n - 1 ULP;
    NONE where there is none.
    """

    quantity: str
    rows: tuple[tuple[int, int, int], ...]


def spreads(actual: Trace, expected: Trace) -> tuple[Spread, ...]:
    """Of every quantity that both traces of one case show in its dtype, after the first and every later step."""
    shared = [name for name in ("w", "m", "v", "vmax", "average")
              if name in actual.quantities and name in expected.quantities
              and {*actual.formats[name], *expected.formats[name]} == {actual.format}]  # fmt: skip
    return tuple(Spread(name, _rows(actual, expected, name)) for name in shared)


def exponent_of(magnitude: int, format: Format) -> int:
    """The greatest e with ``2**e <= |value|`` of normal numbers; one below the smallest of them for subnormals."""
    return magnitude - (1 << (format.exponent_bits - 1)) + 1


def _rows(actual: Trace, expected: Trace, quantity: str) -> tuple[tuple[int, int, int], ...]:
    format = actual.format
    counts = np.zeros(((1 << format.exponent_bits) + 1, _DISTANCES), np.int64)
    limits = np.uint64(format.sign_bit - 1), np.uint64(format.infinity_bits)
    for left, right in _blocks(to_bits(actual.array(quantity)), to_bits(expected.array(quantity))):
        count_distances(np.array(left), np.array(right), *limits, np.uint64(format.precision - 1), counts)
    found = np.flatnonzero(counts)
    places = ((found // _DISTANCES - 1).tolist(), (found % _DISTANCES - 1).tolist(), counts.ravel()[found].tolist())
    return tuple(zip(*places, strict=True))


def _blocks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Without the initial state, some rows at a time."""
    rows = max(1, _BLOCK // max(1, left.shape[1]))
    for start in range(1, len(left), rows):
        yield left[start : start + rows], right[start : start + rows]


@compiled
def bit_length(number: np.uint64) -> int:
    """As Python's, of 64 bits."""
    # Halves of 32 bits are exact as doubles, whose exponent tells the length; 64 bits are not.
    high = number >> np.uint64(32)
    half = np.float64(high if high > np.uint64(0) else number)
    exponent = int(np.int64(bits_of(half)) >> 52)
    return (0 if exponent == 0 else exponent - 1022) + (32 if high > np.uint64(0) else 0)


@compiled
def count_distances(
    left: np.ndarray,
    right: np.ndarray,
    magnitude: np.uint64,
    infinity: np.uint64,
    digits: np.uint64,
    counts: np.ndarray,
) -> None:
    """Adds unsigned bits (rows, columns) to counts: by the magnitude of right, by the bit length of the distance.

    magnitude: all bits but the sign; infinity: those of inf; digits: stored ones of a significand. Magnitude 0 is a
    zero, others are one more than the exponent field; distance 0 is none, others are one more than the bit length.
    """
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            one, other = np.uint64(left[i, j]), np.uint64(right[i, j])
            size = other & magnitude
            row = np.int64(size >> digits) + (1 if size > np.uint64(0) else 0)
            far = distance(one, other, magnitude, infinity)
            counts[row, 0 if far == np.uint64(NO_DISTANCE) else 1 + bit_length(far)] += 1
