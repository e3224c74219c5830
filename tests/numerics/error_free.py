"""Sums and products of doubles together with what rounding took from them: NumPy, for references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Work = Sequence[np.ndarray | None] | np.ndarray
"""Rows (n,) of float64 for results and scratch; None allocates."""

_LOW_BITS = 27
_ALLOCATE: Work = (None,) * 6


def two_sum(a: np.ndarray, b: np.ndarray, work: Work = _ALLOCATE) -> tuple[np.ndarray, np.ndarray]:
    """``total = RN(a + b)`` and the exact ``error = a + b - total``.

    a, b: float64 of any shapes that broadcast; work: three rows other than a and b, of which the first and the last
    are returned. Exact unless the total overflows: then error is NaN.
    Source: Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
    """
    total = np.add(a, b, out=work[0])
    from_b = np.subtract(total, a, out=work[1])
    error = np.subtract(b, from_b, out=work[2])
    from_a = np.subtract(total, from_b, out=work[1])
    lost = np.subtract(a, from_a, out=work[1])
    return total, np.add(lost, error, out=work[2])


def fast_two_sum(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`two_sum` where ``abs(a) >= abs(b)`` or a is 0; three operations instead of six.

    Source: Dekker 1971, "A Floating-Point Technique for Extending the Available Precision".
    """
    total = a + b
    return total, b - (total - a)


def two_product(a: np.ndarray, b: np.ndarray, work: Work = _ALLOCATE) -> tuple[np.ndarray, np.ndarray]:
    """``product = RN(a * b)`` and the exact ``error = a * b - product``; needs no FMA instruction.

    a, b: float64 arrays of any shapes that broadcast; work: six rows other than a and b, of which the last two are
    returned. Exact where the product is 0 because a factor is, or ``abs(product) >= 2**-960`` and nothing overflows;
    an overflow on the way makes error inf or NaN.
    Source: Dekker 1971, with a split by bits in place of Veltkamp's multiplication.
    """
    a_high, a_low = _split(a, work[:2])
    b_high, b_low = _split(b, work[2:4])
    product = np.multiply(a, b, out=work[4])
    error = np.multiply(a_high, b_high, out=work[5])
    error = np.subtract(error, product, out=work[5])
    for left, right in ((a_high, b_low), (a_low, b_high), (a_low, b_low)):
        error = np.add(error, np.multiply(left, right, out=work[0]), out=work[5])
    return product, error


def _split(values: np.ndarray, work: Work) -> tuple[np.ndarray, np.ndarray]:
    """``values = high + low`` with at most 26 significant bits in each, so that products of the parts are exact.

    Where rounding to 26 bits overflows, and at inf and NaN, low is inf or NaN.
    """
    if work[0] is None or work[1] is None or work[0].size != values.size:
        work = (np.empty(values.shape), np.empty(values.shape))
    high, low = work
    assert high is not None
    bits = high.view(np.int64)
    np.add(values.view(np.int64), 1 << (_LOW_BITS - 1), out=bits)
    np.bitwise_and(bits, -1 << _LOW_BITS, out=bits)
    return high, np.subtract(values, high, out=low)


def round_to_odd(total: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The number ``total + error`` rounded to odd: unless it is a double, the neighbour whose last bit is 1.

    total, error: float64 arrays (n,) as `two_sum` returns them. A number rounded to odd can be rounded again, to
    a format at least two bits shorter or at a greater spacing, as if it had been rounded once.
    Source: Boldo and Melquiond 2008, "Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using
    Rounding to Odd".
    """
    bits = total.view(np.int64)
    # Bits of one sign grow with the magnitude. Comparisons leave out the NaN that is the error of an infinite total.
    moved = (np.abs(error) > 0) & ((bits & 1) == 0)
    step = np.where((error > 0) == (total > 0), 1, -1)
    odd: np.ndarray = (bits + moved * step).view(np.float64)
    return odd
