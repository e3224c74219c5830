"""Programs run on double-doubles: the formulas of an Adam with next to no rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from parity.adam.kernels import Program
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
from parity.numerics.jit import Kernel, compiled_text

Values = dict[str, DoubleDouble]

TILE = 64
"""Elements that run through a program together: what all its operations make of them stays in the first cache."""

_RESULTS = {
    "add": "add(high[x, i], low[x, i], high[y, i], low[y, i])",
    "subtract": "add(high[x, i], low[x, i], -high[y, i], -low[y, i])",
    "multiply": "multiply(high[x, i], low[x, i], high[y, i], low[y, i])",
    "divide": "divide(high[x, i], low[x, i], high[y, i], low[y, i])",
    "negative": "-high[x, i], -low[x, i]",
    "copy": "high[x, i], low[x, i]",
    "sqrt": "square_root(high[x, i], low[x, i])",
    "maximum": "maximum(high[x, i], low[x, i], high[y, i], low[y, i])",
    "larger": "larger(high[x, i], low[x, i], high[y, i], low[y, i])",
    "power": "power(high[x, i], low[x, i], high[y, i])",
}
"""What each operation makes of element i of its operands x and y."""

_CODES = {name: code for code, name in enumerate(_RESULTS)}
_CODES |= {"repeated": _CODES["power"], "squaring": _CODES["power"]}


@dataclass(frozen=True, slots=True)
class Code:
    """Programs as numbers: one engine runs them all, so that no formula has to be compiled.

    operations: int64 (operations, 4): code, rows of both operands, row of the result, each row written once.
    inputs: names of the first rows, numbers among them. ends: rows in which every name stands at the end.
    """

    operations: np.ndarray
    inputs: tuple[str | float, ...]
    ends: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Of memory that it needs."""
        return len(self.inputs) + len(self.operations)


@cache
def assembled(programs: tuple[Program, ...], aliases: tuple[tuple[str, str], ...] = ()) -> Code:
    """The code of programs run one after another; aliases: names of operands that stand for others.

    fma and lerp are what they are in real numbers.
    """
    renamed = dict(aliases)
    lines: list[tuple[str, list[str | float], str]] = []
    for operation in (one for program in programs for one in program.operations):
        operands = [renamed.get(one, one) if isinstance(one, str) else one for one in operation.operands]
        lines += _real(operation.name, operands, operation.result)
    inputs: list[str | float] = []
    written: set[str] = set()
    for _, operands, result in lines:
        inputs += [one for one in operands if one not in written and one not in inputs]
        written.add(result)
    rows: dict[str | float, int] = {name: row for row, name in enumerate(inputs)}
    made = []
    for place, (name, operands, result) in enumerate(lines, start=len(inputs)):
        made.append([_CODES[name], rows[operands[0]], rows[operands[-1]], place])
        rows[result] = place
    ends = {name: row for name, row in rows.items() if isinstance(name, str) and not name.startswith("%")}
    return Code(np.array(made, np.int64), tuple(inputs), ends)


def _real(name: str, operands: Sequence[str | float], result: str) -> list[tuple[str, list[str | float], str]]:
    match name:
        case "fma":
            a, b, c = operands
            return [("multiply", [a, b], "%product"), ("add", ["%product", c], result)]
        case "lerp":
            start, _, weight, difference = operands
            return [("multiply", [weight, difference], "%product"), ("add", [start, "%product"], result)]
        case "rsqrt":
            return [("sqrt", [operands[0]], "%root"), ("divide", [1.0, "%root"], result)]
    return [(name, list(operands), result)]


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
    return given | {name: DoubleDouble(high[row], low[row]) for name, row in code.ends.items()}


def _rows_of(name: str) -> Kernel:
    """One operation on rows; apart from all others, so that the loop becomes vector instructions."""
    text = f"""
def {name}_rows(high, low, x, y, into, width):
    for i in range(width):
        high[into, i], low[into, i] = {_RESULTS[name]}
"""
    return compiled_text(text, f"{name}_rows", **_PAIRS)


_PAIRS = {one.__name__: one for one in (add, multiply, divide, square_root, maximum, larger, power)}

execute = compiled_text(
    """
def execute(operations, high, low, width):
    for place in range(operations.shape[0]):
        code, x, y, into = operations[place]
"""
    + "".join(
        f"        if code == {code}:\n            {name}_rows(high, low, x, y, into, width)\n"
        for code, name in enumerate(_RESULTS)
    ),
    "execute",
    **{f"{name}_rows": _rows_of(name) for name in _RESULTS},
)
"""Carries out operations (operations, 4) on the first `width` elements of rows; high, low: (rows, at least width)."""
