"""The slow obvious Adam: one NumPy operation after another, fma emulated; what the machine code is held against."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from parity.adam.arithmetic import Rounding, SquareRoot, Subnormals, parts, working_format
from parity.adam.scalars import scalars
from parity.adam.stages import programs
from parity.numerics.formats import format_of

sys.path.append(str(Path(__file__).parents[1] / "numerics"))
from emulated_fma import fma


def flushed(values):
    return np.where(np.abs(values) < np.finfo(values.dtype).tiny, np.copysign(values.dtype.type(0), values), values)


def lerp(start, end, weight, difference):
    if abs(weight) < 0.5:
        return fma(weight, difference, start)
    return fma(weight - weight.dtype.type(1), difference, end)


def blend(start, end, weight, difference):
    if abs(weight) < 0.5:
        return weight * difference + start
    return (weight - weight.dtype.type(1)) * difference + end


FUNCTIONS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "copy": lambda a: a,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: a.dtype.type(1) / np.sqrt(a),
    "fma": fma,
    "maximum": lambda a, b: np.where((a > b) | np.isnan(a), a, b),
    "larger": lambda a, b: np.where(a < b, b, a),
    "lerp": lerp,
    "blend": blend,
}


def slow_step(state, g, hyper, convention, arithmetic, lr, count, library, setting):
    """The arrays (size,) after one step, by name; state: those before it."""
    after = {name: array.copy() for name, array in state.items()}
    stored = format_of(g)
    factors = scalars(hyper, convention, arithmetic.factors, [lr], [count], stored, library)
    factors = {name: value[0] for name, value in factors.items()}
    with np.errstate(all="ignore"):
        for place, stages in parts(arithmetic, setting):
            cut = {name: array[place] for name, array in (*state.items(), ("g", g))}
            run = programs(stages, hyper, bool(factors["eps"] != 0))
            made = _run(run, cut, factors, stages, hyper.amsgrad, stored, library)
            for name, array in after.items():
                array[place] = made[name].astype(stored.dtype)
    return after


def _run(run, arrays, factors, arithmetic, amsgrad, stored, library):
    working, flushes = working_format(stored), arithmetic.subnormals is Subnormals.FLUSHED
    values = {name: array.astype(working.dtype) for name, array in arrays.items()}
    if flushes:
        values = {name: flushed(array) for name, array in values.items()}

    def value(operand):
        if isinstance(operand, float):
            return working.dtype.type(operand)
        if operand == "x":
            return values["vmax" if amsgrad else "v"]
        return values[operand] if operand in values else factors[operand]

    for operation in (one for program in run for one in program.operations):
        function = FUNCTIONS[operation.name]
        asked = {SquareRoot.LIBRARY: "sqrt", SquareRoot.REFINED: "rsqrt"}.get(arithmetic.square_root)
        if operation.name == asked and library is not None:
            function = library
        result = function(*map(value, operation.operands))
        if flushes:
            result = flushed(result)
        each_line = arithmetic.rounding is Rounding.EACH_KERNEL and operation.ends_line
        if arithmetic.rounding is Rounding.EACH_OPERATION or each_line:
            result = result.astype(stored.dtype).astype(working.dtype)
        values[operation.result] = result
    return values
