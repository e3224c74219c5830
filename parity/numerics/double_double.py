"""Numbers of twice a double's precision, each the unevaluated sum of two doubles.

With u = 2**-53, the relative errors given are those of Joldes, Muller and Popescu 2017, "Tight and Rigorous Error
Bounds for Basic Building Blocks of Double-Word Arithmetic"; they hold where every result is at most 2**1000, and every
product, dividend, quotient and radicand at least 2**-960. Where a product, dividend or radicand is less, or a high part
is inf or NaN or overflows, the result is that of the high parts alone, as doubles give it, with low 0: inf stays inf.
An exact zero has the sign that doubles give it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from parity.numerics.jit import compiled, fma

SMALLEST_EXACT_PRODUCT = 2.0**-960

Pair = tuple[float, float]
"""(high, low), where ``high = RN(high + low)``."""


class DoubleDouble(NamedTuple):
    """The numbers ``high + low``, where ``high = RN(high + low)``; float64 arrays of one shape."""

    high: np.ndarray
    low: np.ndarray


def from_double(values: np.ndarray | float) -> DoubleDouble:
    """Doubles of any shape, exactly; narrower formats are widened, a float becomes shape ()."""
    high = np.asarray(values, np.float64)
    return DoubleDouble(high, np.zeros_like(high))


@compiled
def two_sum(a: float, b: float) -> Pair:
    """``total = RN(a + b)`` and the exact ``error = a + b - total``; NaN where the total overflows.

    Source: Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
    """
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


@compiled
def fast_two_sum(a: float, b: float) -> Pair:
    """`two_sum` where ``abs(a) >= abs(b)`` or a is 0; three operations instead of six.

    Source: Dekker 1971, "A Floating-Point Technique for Extending the Available Precision".
    """
    total = a + b
    return total, b - (total - a)


@compiled
def settled(high: float, low: float, plain: float, exact: bool) -> Pair:
    """The pair, or plain where the pair is not exact or not finite, or is a zero that may have lost its sign."""
    # The difference of a number from itself is 0, of inf and of NaN it is NaN. No short cut: it would be a branch.
    kept = (high - high == 0.0) & (low - low == 0.0) & exact & ((high != 0.0) | (plain != 0.0))
    return (high, low) if kept else (plain, 0.0)


@compiled
def add(x_high: float, x_low: float, y_high: float, y_low: float) -> Pair:
    """``x + y`` with relative error at most 3u**2 / (1 - 4u), cancellation included; algorithm 6 of the source."""
    plain, error = two_sum(x_high, y_high)
    low, low_error = two_sum(x_low, y_low)
    total, error = fast_two_sum(plain, error + low)
    high, low = fast_two_sum(total, low_error + error)
    result: Pair = settled(high, low, plain, True)
    return result


@compiled
def multiply(x_high: float, x_low: float, y_high: float, y_low: float) -> Pair:
    """``x * y`` with relative error at most 7u**2; algorithm 10 of the source."""
    product = x_high * y_high
    error = fma(x_high, y_high, -product)
    high, low = fast_two_sum(product, error + (x_high * y_low + x_low * y_high))
    result: Pair = settled(high, low, product, abs(product) >= SMALLEST_EXACT_PRODUCT)
    return result


@compiled
def divide(x_high: float, x_low: float, y_high: float, y_low: float) -> Pair:
    """``x / y`` with relative error at most 15u**2 + 56u**3; algorithms 17 and 7 of the source."""
    quotient = x_high / y_high
    product = y_high * quotient
    error = fma(y_high, quotient, -product)
    product, low = fast_two_sum(product, y_low * quotient)
    product, low = fast_two_sum(product, low + error)
    remainder = (x_high - product) + (x_low - low)
    high, low = fast_two_sum(quotient, remainder / y_high)
    result: Pair = settled(high, low, quotient, abs(x_high) >= SMALLEST_EXACT_PRODUCT)
    return result


@compiled
def square_root(x_high: float, x_low: float) -> Pair:
    """The root with relative error at most 25/8 u**2; of numbers less than 0, NaN; of zeros, themselves.

    Source: Lefèvre, Louvet, Muller, Picot and Rideau 2023, "Accurate Calculation of Euclidean Norms Using Double-Word
    Arithmetic", algorithm 8.
    """
    root = math.sqrt(x_high)
    square = root * root
    remainder = ((x_high - square) - fma(root, root, -square)) + x_low
    high, low = fast_two_sum(root, remainder / (2.0 * root))
    result: Pair = settled(high, low, root, abs(x_high) >= SMALLEST_EXACT_PRODUCT)
    return result


@compiled
def maximum(x_high: float, x_low: float, y_high: float, y_low: float) -> Pair:
    """The greater of two; NaN where one of them is."""
    if x_high != x_high or x_high > y_high or (x_high == y_high and x_low >= y_low):
        return x_high, x_low
    return y_high, y_low


@compiled
def larger(x_high: float, x_low: float, y_high: float, y_low: float) -> Pair:
    """y where x is less, else x; a NaN is not less."""
    if x_high < y_high or (x_high == y_high and x_low < y_low):
        return y_high, y_low
    return x_high, x_low


@compiled
def power(base_high: float, base_low: float, exponent: float) -> Pair:
    """``base ** exponent`` for whole exponents of at least 0, by squaring."""
    high, low = 1.0, 0.0
    count = int(exponent)
    while count > 0:
        if count & 1:
            high, low = multiply(high, low, base_high, base_low)
        count >>= 1
        base_high, base_low = multiply(base_high, base_low, base_high, base_low)
    return high, low
