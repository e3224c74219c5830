"""How the elements of two orbits are spread over distance and magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.comparison.trace import Trace
from parity.numerics.formats import Format, to_bits
from parity.numerics.ulp import distance_of_bits

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
    """Of every quantity that both traces of one case show, after the first and every later step."""
    shared = [name for name in ("w", "m", "v", "vmax") if name in actual.quantities and name in expected.quantities]
    return tuple(Spread(name, _rows(actual, expected, name)) for name in shared)


def exponent_of(magnitude: int, format: Format) -> int:
    """The greatest e with ``2**e <= |value|`` of normal numbers; one below the smallest of them for subnormals."""
    return magnitude - (1 << (format.exponent_bits - 1)) + 1


def _rows(actual: Trace, expected: Trace, quantity: str) -> tuple[tuple[int, int, int], ...]:
    format = actual.format
    counts = np.zeros(((1 << format.exponent_bits) + 1) * _DISTANCES, np.int64)
    for left, right in _blocks(to_bits(actual.array(quantity)), to_bits(expected.array(quantity))):
        codes = _magnitudes(right, format) * _DISTANCES + _distances(distance_of_bits(left, right, format), format)
        counts += np.bincount(codes.ravel(), minlength=counts.size)
    found = np.flatnonzero(counts)
    places = ((found // _DISTANCES - 1).tolist(), (found % _DISTANCES - 1).tolist(), counts[found].tolist())
    return tuple(zip(*places, strict=True))


def _blocks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Without the initial state, some rows at a time."""
    rows = max(1, _BLOCK // max(1, left.shape[1]))
    for start in range(1, len(left), rows):
        yield left[start : start + rows], right[start : start + rows]


def _magnitudes(bits: np.ndarray, format: Format) -> np.ndarray:
    """One more than the exponent field; 0 for zeros."""
    size = bits & format.unsigned.type(format.sign_bit - 1)
    found: np.ndarray = (size >> (format.precision - 1)).astype(np.int64) + (size > 0)
    return found


def _distances(distance: np.ndarray, format: Format) -> np.ndarray:
    """One more than the bit length; 0 where there is no distance."""
    wide = distance.astype(np.uint64)
    high, low = wide >> np.uint64(32), wide & np.uint64(0xFFFFFFFF)
    # Halves of 32 bits are exact as doubles; 64 bits are not.
    length = np.where(high > 0, 32 + np.frexp(high.astype(np.float64))[1], np.frexp(low.astype(np.float64))[1])
    none = distance == format.unsigned.type(2 * format.sign_bit - 1)
    return np.where(none, 0, length + 1).astype(np.int64)
