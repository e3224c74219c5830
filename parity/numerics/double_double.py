"""Numbers of twice a double's precision, each the unevaluated sum of two doubles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.numerics.error_free import fast_two_sum, round_to_odd, two_product, two_sum
from parity.numerics.formats import Format
from parity.numerics.rounding import round_to

_SMALLEST_EXACT_PRODUCT = 2.0**-960


@dataclass(frozen=True, slots=True)
class DoubleDouble:
    """The numbers ``high + low``, where ``high = RN(high + low)``; + - * / as for floats.

    high, low: float64 of one shape. The other operand may be a float or a float64 array. With u = 2**-53, the
    relative errors given are those of Joldes, Muller and Popescu 2017, "Tight and Rigorous Error Bounds for Basic
    Building Blocks of Double-Word Arithmetic"; they hold where every result is at most 2**1000, and every product,
    dividend, quotient and radicand at least 2**-960. Where a product, dividend or radicand is less, or a high part
    is inf or NaN or overflows, the result is that of the high parts alone, as doubles give it, with low 0: inf stays
    inf. An exact zero has the sign that doubles give it.
    A tuple would not do: its + and * mean concatenation, and an array would stack it.
    """

    high: np.ndarray
    low: np.ndarray

    # Or an array on the left would apply its own operator, element by element of the object.
    __array_ufunc__ = None

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.high, -self.low)

    def __add__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _add(self, as_double_double(other))

    def __radd__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _add(as_double_double(other), self)

    def __sub__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _add(self, -as_double_double(other))

    def __rsub__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _add(as_double_double(other), -self)

    def __mul__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _multiply(self, as_double_double(other))

    def __rmul__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _multiply(as_double_double(other), self)

    def __truediv__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _divide(self, as_double_double(other))

    def __rtruediv__(self, other: DoubleDouble | np.ndarray | float) -> DoubleDouble:
        return _divide(as_double_double(other), self)


def from_double(values: np.ndarray | float) -> DoubleDouble:
    """Doubles of any shape, exactly; narrower formats are widened, a float becomes shape ()."""
    high = np.asarray(values, np.float64)
    return DoubleDouble(high, np.zeros_like(high))


def as_double_double(operand: DoubleDouble | np.ndarray | float) -> DoubleDouble:
    """The operand itself, or its doubles."""
    return operand if isinstance(operand, DoubleDouble) else from_double(operand)


def _add(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """``x + y`` with relative error at most 3u**2 / (1 - 4u), cancellation included; algorithm 6 of the source."""
    with np.errstate(all="ignore"):
        total, error = two_sum(x.high, y.high)
        low, low_error = two_sum(x.low, y.low)
        total, error = fast_two_sum(total, error + low)
        return _settled(*fast_two_sum(total, low_error + error), x.high + y.high, exact=True)


def _multiply(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """``x * y`` with relative error at most 7u**2; algorithm 10 of the source."""
    with np.errstate(all="ignore"):
        product, error = two_product(x.high, y.high)
        cross = x.high * y.low + x.low * y.high
        return _settled(*fast_two_sum(product, error + cross), product, exact=_is_exact(product))


def _divide(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """``x / y`` with relative error at most 15u**2 + 56u**3; algorithms 17 and 7 of the source."""
    with np.errstate(all="ignore"):
        quotient = x.high / y.high
        product, error = two_product(y.high, quotient)
        product, low = fast_two_sum(product, y.low * quotient)
        product, low = fast_two_sum(product, low + error)
        remainder = (x.high - product) + (x.low - low)
        return _settled(*fast_two_sum(quotient, remainder / y.high), quotient, exact=_is_exact(x.high))


def sqrt(x: DoubleDouble) -> DoubleDouble:
    """Square roots with relative error at most 25/8 u**2; of numbers less than 0, NaN; of zeros, themselves.

    Source: Lefèvre, Louvet, Muller, Picot and Rideau 2023, "Accurate Calculation of Euclidean Norms Using Double-Word
    Arithmetic", algorithm 8.
    """
    with np.errstate(all="ignore"):
        root = np.sqrt(x.high)
        square, error = two_product(root, root)
        remainder = ((x.high - square) - error) + x.low
        return _settled(*fast_two_sum(root, remainder / (2 * root)), root, exact=_is_exact(x.high))


def _is_exact(product: np.ndarray) -> np.ndarray:
    exact: np.ndarray = np.abs(product) >= _SMALLEST_EXACT_PRODUCT
    return exact


def _settled(high: np.ndarray, low: np.ndarray, plain: np.ndarray, exact: np.ndarray | bool) -> DoubleDouble:
    """The pair, or plain where the pair is not exact or not finite, or is a zero that may have lost its sign."""
    replaced = ~(np.isfinite(high) & np.isfinite(low) & exact) | ((high == 0) & (plain == 0))
    if replaced.any():
        return DoubleDouble(np.where(replaced, plain, high), np.where(replaced, 0.0, low))
    return DoubleDouble(high, low)


def to_format(x: DoubleDouble, format: Format, out: np.ndarray | None = None) -> np.ndarray:
    """The numbers of a format nearest to ``high + low``, ties to even: correctly rounded, once, for every format.

    Of any finite pair, its subnormal results and overflow included; inf and NaN of high + low stay. The error of x
    itself remains: the result is that of the number meant unless this lies within the error of a rounding boundary.
    """
    with np.errstate(all="ignore"):
        total, error = two_sum(x.high, x.low)
        # Adding +0 would take the sign from -0.
        total = np.where(x.low == 0, x.high, total)
        return round_to(total if format.name == "float64" else round_to_odd(total, error), format, out)
