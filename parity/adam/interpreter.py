"""Steps of Adam run without being compiled: machine code that carries out any program, operation by operation.

A step takes about a second to compile, and a run asks for hundreds of them; most of those run over a few ten thousand
elements, for which this takes some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from parity.adam.arithmetic import Rounding, working_format
from parity.adam.code import Line, assembled, engine
from parity.adam.compiler import CONVERSIONS, EXPRESSIONS, NAMES, Manner
from parity.adam.kernels import Operation
from parity.numerics.formats import Format
from parity.numerics.jit import Kernel, compiled_text

TILE = 256
"""Elements that run through a program together: what all its operations make of them stays in the cache."""

_GRADIENT, _FACTOR, _NUMBER, _ROOT = 4, 5, 6, 7
"""What an input is that is none of w, m, v, vmax: 0 to 3."""


def interpreted_step(
    operations: Sequence[Operation],
    quantities: Sequence[str],
    factors: Sequence[str],
    manner: Manner,
    root: Operation | None,
) -> Kernel:
    """As `parity.adam.compiler.compiled_step`, bit for bit, but for the signs and payloads of NaN."""
    working = working_format(manner.stored)
    code = assembled(list(_lines(operations, quantities, manner, root)), _codes(working))
    numbers = np.array([one if isinstance(one, float) else 0.0 for one in code.inputs], working.dtype)
    kinds = {"g": (_GRADIENT, 0), "root": (_ROOT, 0), **{name: (place, 0) for place, name in enumerate(quantities)}}
    kinds |= {name: (_FACTOR, place) for place, name in enumerate(factors)}
    inputs = np.array([kinds.get(str(one), (_NUMBER, 0)) for one in code.inputs])
    writes_root = "root" in code.ends and root is None
    # What the operations before a root leave alone is not looked at.
    ends = [*(code.ends.get(name, -1) for name in quantities), *[-1] * (4 - len(quantities))]
    ends = [-1 if writes_root else ends[0], *ends[1:], code.ends["root"] if writes_root else -1]
    return partial(_run, _driver(manner.stored), len(quantities), inputs, numbers, np.array(ends), code.operations)


def _run(
    drive: Kernel,
    states: int,
    inputs: np.ndarray,
    numbers: np.ndarray,
    ends: np.ndarray,
    operations: np.ndarray,
    *given: Any,
) -> None:
    """states: how many arrays of them there are; given: as `parity.adam.compiler.StepCode` says of `run`."""
    *arrays, factors, carries, start, stop = given
    gradients, *roots = arrays[states:]
    w, m, v = arrays[:3]
    # Arrays that are not there are never touched; others of their type stand for them.
    vmax, root = arrays[states - 1], roots[0] if roots else factors
    drive(w, m, v, vmax, gradients, root, factors, carries, start, stop, inputs, numbers, ends, operations)


def _lines(
    operations: Sequence[Operation], quantities: Sequence[str], manner: Manner, root: Operation | None
) -> Iterator[Line]:
    """All operations, with what flushes and rounds their results."""

    def kept(name: str, rounds: bool) -> Iterator[Line]:
        if manner.flushes:
            yield "flushed", [name], name
        if rounds:
            yield f"rounded_{manner.stored.name}", [name], name

    for name in (*quantities, "g"):
        yield from kept(name, rounds=False)
    for operation in operations:
        operands = [quantities[-1] if one == "x" else one for one in operation.operands]
        if operation is root:
            yield "copy", ["root"], operation.result
        else:
            yield operation.name, operands, operation.result
        if operation.result != "root":
            each = manner.rounding is Rounding.EACH_OPERATION
            ends = manner.rounding is Rounding.EACH_KERNEL and operation.ends_line
            yield from kept(operation.result, rounds=manner.rounds and (each or ends))


def _expressions(working: Format) -> Mapping[str, str]:
    operands = [f"rows[{one}, i]" for one in "abcd"]
    found = {name: one.format(*operands, real=f"np.{working.name}") for name, one in EXPRESSIONS.items()}
    found["flushed"] = f"flushed_{working.name}(rows[a, i])"
    if working.name == "float32":
        found |= {name: f"{name}(rows[a, i])" for name in ("rounded_float16", "rounded_bfloat16")}
    return found


def _codes(working: Format) -> Mapping[str, int]:
    return {name: code for code, name in enumerate(_expressions(working))}


@cache
def _engine(working: Format) -> Kernel:
    return engine(_expressions(working), "rows", "rows[into, i]", NAMES)


@cache
def _driver(stored: Format) -> Kernel:
    """Steps of arrays in memory as `parity.adam.compiler.memory` has them.

    inputs: (rows, 2), what each is, and its column of the factors; ends: rows in which w, m, v, vmax and what goes
    to roots stand at the end, -1 for what is not written.
    """
    working = working_format(stored).name
    moves = {"read": "rows[row, i] = array[step, left + i]", "write": "array[step, left + i] = rows[row, i]"}
    if stored.name == working:
        moves |= {"load": moves["read"], "store": moves["write"]}
    else:
        moves["load"] = f"rows[row, i] = widened_{stored.name}(array[step, left + i])"
        moves["store"] = f"array[step, left + i] = narrowed_{stored.name}(rows[row, i])"
    names = {
        name: compiled_text(
            f"def {name}(rows, row, array, step, left, width):\n    for i in range(width):\n        {body}\n",
            name,
            **CONVERSIONS,
        )
        for name, body in moves.items()
    }
    fill = "def fill(rows, row, number, width):\n    for i in range(width):\n        rows[row, i] = number\n"
    text = f"""
def drive(w, m, v, vmax, gradients, roots, factors, carries, start, stop, inputs, numbers, ends, operations):
    rows = np.empty((inputs.shape[0] + operations.shape[0], {TILE}), np.{working})
    for row in range(inputs.shape[0]):
        fill(rows, row, numbers[row], {TILE})
    for left in range(start, stop, {TILE}):
        width = min({TILE}, stop - left)
        for step in range(gradients.shape[0]):
            before = step - 1 if carries and step > 0 else step
            for row in range(inputs.shape[0]):
                kind = inputs[row, 0]
                if kind == 0:
                    load(rows, row, w, before, left, width)
                elif kind == 1:
                    load(rows, row, m, before, left, width)
                elif kind == 2:
                    load(rows, row, v, before, left, width)
                elif kind == 3:
                    load(rows, row, vmax, before, left, width)
                elif kind == {_GRADIENT}:
                    load(rows, row, gradients, step, left, width)
                elif kind == {_FACTOR}:
                    fill(rows, row, factors[step, inputs[row, 1]], width)
                elif kind == {_ROOT}:
                    read(rows, row, roots, step, left, width)
            execute(operations, rows, width)
            if ends[0] >= 0:
                store(rows, ends[0], w, step, left, width)
            if ends[1] >= 0:
                store(rows, ends[1], m, step, left, width)
            if ends[2] >= 0:
                store(rows, ends[2], v, step, left, width)
            if ends[3] >= 0:
                store(rows, ends[3], vmax, step, left, width)
            if ends[4] >= 0:
                write(rows, ends[4], roots, step, left, width)
"""
    execute = _engine(working_format(stored))
    return compiled_text(text, "drive", np=np, fill=compiled_text(fill, "fill"), execute=execute, **names)
