"""Programs run on double-doubles: the formulas of an Adam with next to no rounding."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import numpy as np

from parity.adam.kernels import Program
from parity.numerics.double_double import DoubleDouble, as_double_double, from_double, sqrt
from parity.numerics.error_free import fast_two_sum, two_product, two_sum

Values = dict[str, DoubleDouble]


def run_exactly(program: Program, values: Values, aliases: Mapping[str, str] | None = None) -> None:
    """Runs a program; targets and intermediate results become entries of `values`.

    values: by name, shapes that broadcast; aliases: names of operands that stand for others. Every operation has a
    relative error of some 2**-104 (see `DoubleDouble`; products below 2**-960 an absolute one of 2**-1074); fma and
    lerp are what they are in real numbers.
    """
    before = dict(values)
    with np.errstate(all="ignore"):
        _run(program, values, aliases or {}, QUICK)
        targets = {operation.result for operation in program.operations if operation.ends_line}
        if all(np.isfinite(values[name].low).all() for name in targets):
            return
    values.clear()
    values.update(before)
    _run(program, values, aliases or {}, CAREFUL)


def _run(program: Program, values: Values, aliases: Mapping[str, str], operations: Operations) -> None:
    for operation in program.operations:
        operands = [
            from_double(one) if isinstance(one, float) else values[aliases.get(one, one)] for one in operation.operands
        ]
        values[operation.result] = operations[operation.name](*operands)


def quick_add(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """As ``x + y`` of finite numbers; NaN in low where one is not, and zeros without their sign."""
    total, error = two_sum(x.high, y.high)
    low, low_error = two_sum(x.low, y.low)
    total, error = fast_two_sum(total, error + low)
    return DoubleDouble(*fast_two_sum(total, low_error + error))


def quick_multiply(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """As ``x * y``, likewise."""
    product, error = two_product(x.high, y.high)
    return DoubleDouble(*fast_two_sum(product, error + (x.high * y.low + x.low * y.high)))


def quick_divide(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """As ``x / y``, likewise."""
    quotient = x.high / y.high
    product, error = two_product(y.high, quotient)
    product, low = fast_two_sum(product, y.low * quotient)
    product, low = fast_two_sum(product, low + error)
    return DoubleDouble(*fast_two_sum(quotient, ((x.high - product) + (x.low - low)) / y.high))


def quick_sqrt(x: DoubleDouble) -> DoubleDouble:
    """As `sqrt`, likewise."""
    root = np.sqrt(x.high)
    square, error = two_product(root, root)
    remainder = ((x.high - square) - error) + x.low
    return DoubleDouble(*fast_two_sum(root, np.where(root > 0, remainder / (2 * root), root)))


def maximum(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """The greater of each two; NaN where one of them is."""
    first = np.isnan(x.high) | (x.high > y.high) | ((x.high == y.high) & (x.low >= y.low))
    return DoubleDouble(np.where(first, x.high, y.high), np.where(first, x.low, y.low))


def larger(x: DoubleDouble, y: DoubleDouble) -> DoubleDouble:
    """y where x is less, else x; a NaN is not less."""
    second = (x.high < y.high) | ((x.high == y.high) & (x.low < y.low))
    return DoubleDouble(np.where(second, y.high, x.high), np.where(second, y.low, x.low))


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


Operations = Mapping[str, Callable[..., DoubleDouble]]


def _operations(
    add: Callable[..., DoubleDouble],
    multiply: Callable[..., DoubleDouble],
    divide: Callable[..., DoubleDouble],
    root: Callable[..., DoubleDouble],
) -> Operations:
    return {
        "add": add,
        "subtract": lambda x, y: add(x, -y),
        "multiply": multiply,
        "divide": divide,
        "negative": lambda x: -x,
        "copy": lambda x: x,
        "fma": lambda x, y, z: add(multiply(x, y), z),
        "lerp": lambda start, end, weight, difference: add(start, multiply(weight, difference)),
        "sqrt": root,
        "rsqrt": lambda x: divide(from_double(1.0), root(x)),
        "maximum": maximum,
        "larger": larger,
        "power": power,
        "repeated": power,
        "squaring": power,
    }


CAREFUL = _operations(operator.add, operator.mul, operator.truediv, sqrt)
"""Those of `DoubleDouble`: right for inf, NaN and all that is very small or large."""

QUICK = _operations(quick_add, quick_multiply, quick_divide, quick_sqrt)
"""The same without looking at what came out: a third of the time."""
