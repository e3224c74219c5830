"""Programs run on double-doubles: the formulas of an Adam with next to no rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from parity.adam.kernels import Program
from parity.numerics.double_double import DoubleDouble, as_double_double, from_double, sqrt

Values = dict[str, DoubleDouble]


def run_exactly(program: Program, values: Values, aliases: Mapping[str, str] | None = None) -> None:
    """Runs a program; targets and intermediate results become entries of `values`.

    values: by name, shapes that broadcast; aliases: names of operands that stand for others. Every operation has a
    relative error of some 2**-104 (see `DoubleDouble`); fma and lerp are what they are in real numbers.
    """
    other = aliases or {}
    for operation in program.operations:
        operands = [
            from_double(one) if isinstance(one, float) else values[other.get(one, one)] for one in operation.operands
        ]
        values[operation.result] = _OPERATIONS[operation.name](*operands)


def maximum(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """The greater of each two; NaN where one of them is."""
    first = np.isnan(x.high) | (x.high > y.high) | ((x.high == y.high) & (x.low >= y.low))
    return DoubleDouble(np.where(first, x.high, y.high), np.where(first, x.low, y.low))


def power(base: DoubleDouble, exponent: DoubleDouble) -> DoubleDouble:
    """``base ** exponent`` for whole exponents of at least 0, by squaring."""
    counts = exponent.high.astype(np.int64)
    shape = np.broadcast_shapes(base.high.shape, counts.shape)
    result, square = as_double_double(np.ones(shape)), base
    while counts.any():
        product = result * square
        odd = (counts & 1).astype(bool)
        result = DoubleDouble(np.where(odd, product.high, result.high), np.where(odd, product.low, result.low))
        counts, square = counts >> 1, square * square
    return result


def _lerp(start: DoubleDouble, end: DoubleDouble, weight: DoubleDouble, difference: DoubleDouble) -> DoubleDouble:
    return start + weight * difference


_OPERATIONS: Mapping[str, Callable[..., DoubleDouble]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "copy": lambda x: x,
    "fma": lambda x, y, z: x * y + z,
    "lerp": _lerp,
    "sqrt": sqrt,
    "maximum": maximum,
    "power": power,
    "repeated": power,
}
