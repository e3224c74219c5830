"""Programs run on double-doubles: the formulas of an Adam with next to no rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from parity.adam.code import Code, Line, assembled, engine
from parity.adam.kernels import Operation, Program
from parity.numerics.double_double import (
    DoubleDouble,
    add,
    divide,
    from_double,
    larger,
    maximum,
    multiply,
    power,
    square_root,
)

Values = dict[str, DoubleDouble]

TILE = 64
"""Elements that run through a program together: what all its operations make of them stays in the first cache."""

_X, _Y = "high[a, i], low[a, i]", "high[b, i], low[b, i]"

_EXPRESSIONS = {
    "add": f"add({_X}, {_Y})",
    "subtract": f"add({_X}, -high[b, i], -low[b, i])",
    "multiply": f"multiply({_X}, {_Y})",
    "divide": f"divide({_X}, {_Y})",
    "negative": "-high[a, i], -low[a, i]",
    "copy": _X,
    "sqrt": f"square_root({_X})",
    "maximum": f"maximum({_X}, {_Y})",
    "larger": f"larger({_X}, {_Y})",
    "power": f"power({_X}, high[b, i])",
}

_CODES = {name: code for code, name in enumerate(_EXPRESSIONS)}
_CODES |= {"repeated": _CODES["power"], "squaring": _CODES["power"]}

execute = engine(
    _EXPRESSIONS,
    "high, low",
    "high[into, i], low[into, i]",
    {one.__name__: one for one in (add, multiply, divide, square_root, maximum, larger, power)},
)
"""``execute(operations, high, low, width)`` on rows (rows, at least width)."""


@cache
def exact_code(programs: tuple[Program, ...], x: str = "x") -> Code:
    """The code of programs run one after another; x: which name stands for x.

    fma, lerp and blend are what they are in real numbers.
    """
    operations = (operation for program in programs for operation in program.operations)
    return assembled([line for operation in operations for line in _lines(operation, x)], _CODES)


def _lines(operation: Operation, x: str) -> Iterator[Line]:
    operands = [x if one == "x" else one for one in operation.operands]
    name, result = operation.name, operation.result
    match name:
        case "fma":
            yield "multiply", operands[:2], "%product"
            yield "add", ["%product", operands[2]], result
        case "lerp" | "blend":
            start, _, weight, difference = operands
            yield "multiply", [weight, difference], "%product"
            yield "add", [start, "%product"], result
        case "rsqrt":
            yield "sqrt", operands, "%root"
            yield "divide", [1.0, "%root"], result
        case _:
            yield name, operands, result


def run_exactly(code: Code, values: Mapping[str, np.ndarray]) -> Values:
    """What every name is at the end; values: float64 (size,) each, read as exact numbers.

    Every operation has a relative error of some 2**-104; see `parity.numerics.double_double` for its range.
    """
    size = len(next(iter(values.values())))
    high, low = np.zeros((2, code.rows, size))
    for row, name in enumerate(code.inputs):
        high[row] = values[name] if isinstance(name, str) else name
    execute(code.operations, high, low, size)
    given = {name: from_double(one) for name, one in values.items()}
    made = {name: DoubleDouble(high[row], low[row]) for name, row in code.ends.items() if not name.startswith("%")}
    return given | made
