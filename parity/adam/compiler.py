"""A step of Adam as machine code: all its lines in one loop over the elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from parity.adam.arithmetic import Rounding, working_format
from parity.adam.kernels import Operation, Program
from parity.numerics import flush, halves
from parity.numerics.formats import Format
from parity.numerics.jit import Kernel, compiled, compiled_text, fma


@compiled
def maximum(a: float, b: float) -> float:
    """The larger one, b where they are equal; NaN where either is."""
    return a if (a > b) | (a != a) else b


@compiled
def larger(a: float, b: float) -> float:
    """b where ``a < b``, else a."""
    return b if a < b else a


EXPRESSIONS = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "copy": "{0}",
    "fma": "fma({0}, {1}, {2})",
    "sqrt": "sqrt({0})",
    "rsqrt": "{real}(1) / sqrt({0})",
    "maximum": "maximum({0}, {1})",
    "larger": "larger({0}, {1})",
    "lerp": "fma({2} if abs({2}) < {real}(0.5) else {2} - {real}(1), {3}, {0} if abs({2}) < {real}(0.5) else {1})",
    "blend": "({2} if abs({2}) < {real}(0.5) else {2} - {real}(1)) * {3} + ({0} if abs({2}) < {real}(0.5) else {1})",
}
"""What each operation is, operand by operand; real: the working format."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a step reads, rounds and stores: format of its arrays, when it rounds, and whether it flushes."""

    stored: Format
    rounding: Rounding
    flushes: bool

    @property
    def rounds(self) -> bool:
        """Whether numbers of the working format are rounded at all."""
        return self.stored is not working_format(self.stored)


@dataclass(frozen=True, slots=True)
class StepCode:
    """The machine code of a step. factors: names of the columns of its scalars.

    run: ``(*arrays, gradients, factors, carries, start, stop)``, where a root is given it follows the gradients.
    Overwrites columns start to stop of the rows of arrays (steps, size), in memory as `memory` has them; carries:
    every row begins as the row before ends. radicands: the same up to the square root, whose operand it writes where
    `run` reads the root; None where no root is asked for. feeds_back: w has part in m, v, vmax or the radicand.
    """

    run: Kernel
    factors: tuple[str, ...]
    radicands: Kernel | None
    feeds_back: bool


KernelMaker = Callable[[Sequence[Operation], Sequence[str], Sequence[str], Manner, Operation | None], Kernel]
"""Makes the kernel of operations: quantities, names of factors, and the operation whose result is read from a row."""


@cache
def step_code(
    programs: tuple[Program, ...], quantities: tuple[str, ...], manner: Manner, asks: str, make: KernelMaker
) -> StepCode:
    """The code of programs run one after another.

    quantities: w, m, v and, under AMSGrad, vmax. asks: the operation whose result comes from outside, sqrt or rsqrt;
    empty for none. make: `compiled_step`, or `parity.adam.interpreter.interpreted_step`.
    """
    operations = [one for program in programs for one in program.operations]
    named = {str(one) for operation in operations for one in operation.operands if not isinstance(one, float)}
    factors = tuple(sorted(one for one in named - {*quantities, "g", "x"} if not one.startswith("%")))
    roots = [place for place, operation in enumerate(operations) if operation.name == asks]
    if not roots:
        return StepCode(make(operations, quantities, factors, manner, None), factors, None, False)
    (place,) = roots
    before, root = operations[:place], operations[place]
    return StepCode(
        make(operations, quantities, factors, manner, root),
        factors,
        make([*before, Operation("copy", root.operands, "root", False)], quantities, factors, manner, None),
        _feeds_back(before, root, quantities),
    )


def compiled_step(
    operations: Sequence[Operation],
    quantities: Sequence[str],
    factors: Sequence[str],
    manner: Manner,
    root: Operation | None,
) -> Kernel:
    """One loop for these operations only; takes a second to compile, unless it is kept on disk."""
    return _kernel(_text(operations, quantities, factors, manner, root))


def memory(array: np.ndarray, stored: Format) -> np.ndarray:
    """An array as the code takes it: halves as the bits that they are."""
    return array.view(stored.unsigned) if stored.dtype.itemsize < 4 else array


def _feeds_back(before: Iterable[Operation], root: Operation, quantities: Sequence[str]) -> bool:
    made = {"w"}
    for operation in before:
        read = {quantities[-1] if one == "x" else one for one in operation.operands}
        made = made | {operation.result} if made & read else made - {operation.result}
    return bool(made & {*quantities[1:], *root.operands})


def _text(
    operations: Sequence[Operation],
    quantities: Sequence[str],
    factors: Sequence[str],
    manner: Manner,
    root: Operation | None,
) -> str:
    """The source of a step; root: the operation whose result is read from rows of its own.

    Operations may write such rows as ``root``.
    """
    writes_root = any(operation.result == "root" for operation in operations)
    rows = [*quantities, "g", *(["root"] if writes_root or root else [])]
    working, stored = working_format(manner.stored).name, manner.stored.name
    used = {one for operation in operations for one in operation.operands}
    lines = [
        f"def adam_step({', '.join(f'{name}_rows' for name in rows)}, factors, carries, start, stop):",
        "    for step in range(g_rows.shape[0]):",
        *(f"        {name}_row = {name}_rows[step, start:stop]" for name in rows),
        "        if carries and step > 0:",
        "            for i in range(start, stop):",
        *(f"                {name}_rows[step, i] = {name}_rows[step - 1, i]" for name in quantities),
        *(f"        s_{name} = factors[step, {place}]" for place, name in enumerate(factors) if name in used),
        "        for i in range(stop - start):",
    ]

    def value(operand: str | float) -> str:
        if isinstance(operand, float):
            return f"np.{working}({operand!r})"
        if operand in factors:
            return f"s_{operand}"
        return f"a_{quantities[-1] if operand == 'x' else operand.replace('%', '')}"

    def line(target: str, expression: str) -> None:
        lines.append(f"            {target} = {expression}")

    for name in (*quantities, "g"):
        read = f"{name}_row[i]"
        read = f"widened_{stored}({read})" if manner.rounds else read
        line(value(name), f"flushed_{working}({read})" if manner.flushes else read)
    for operation in operations:
        operands = map(value, operation.operands)
        expression = EXPRESSIONS[operation.name].format(*operands, real=f"np.{working}")
        made = "root_row[i]" if operation is root else expression
        if operation.result == "root":
            line("root_row[i]", made)
            continue
        each = manner.rounding is Rounding.EACH_OPERATION
        made = f"flushed_{working}({made})" if manner.flushes else made
        rounds = manner.rounds and (each or (manner.rounding is Rounding.EACH_KERNEL and operation.ends_line))
        line(value(operation.result), f"rounded_{stored}({made})" if rounds else made)
    for name in quantities:
        if not (writes_root and name == "w"):
            line(f"{name}_row[i]", f"narrowed_{stored}({value(name)})" if manner.rounds else value(name))
    return "\n".join(lines) + "\n"


@cache
def _kernel(text: str) -> Kernel:
    return compiled_text(text, "adam_step", **NAMES)


CONVERSIONS = {
    name: one
    for name, one in (vars(halves) | vars(flush)).items()
    if name.startswith(("widened_", "narrowed_", "rounded_", "flushed_"))
}

NAMES = {"np": np, "sqrt": np.sqrt, "fma": fma, "maximum": maximum, "larger": larger, **CONVERSIONS}
"""What the text of a step may use, as it is now: later a user's test may have put something else in its place."""
