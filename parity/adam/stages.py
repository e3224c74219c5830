"""One Adam step on a block of elements: the stages in their order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from parity.adam.arithmetic import Arithmetic
from parity.adam.evaluation import Evaluator, Operand
from parity.adam.kernels import Program, compiled
from parity.hyper import Hyper
from parity.numerics.flush import flush_subnormals

_ARRAYS = ("w", "m", "v", "vmax", "g")


@cache
def programs(arithmetic: Arithmetic, hyper: Hyper) -> tuple[Program, ...]:
    """What a step runs, in order: L2 or decoupled decay where asked, moments, AMSGrad's maximum where asked, update."""
    texts: list[str] = []
    if hyper.weight_decay != 0:
        texts.append(arithmetic.decay_weights if hyper.decoupled else arithmetic.decay_gradient)
    texts += [arithmetic.first_moment, arithmetic.second_moment]
    if hyper.amsgrad and "vmax" not in arithmetic.update:
        texts.append("vmax = maximum(vmax, v)")
    texts.append(arithmetic.update)
    return tuple(compiled(_asked_for(text, hyper), _ARRAYS) for text in texts)


def _asked_for(text: str, hyper: Hyper) -> str:
    """A program without the lines whose condition does not hold."""
    asked = {"decoupled": hyper.weight_decay != 0 and hyper.decoupled, "amsgrad": hyper.amsgrad}
    lines = [line.strip().rpartition(": ") for line in text.split(";")]
    return ";".join(line for condition, _, line in lines if asked.get(condition, True))


def scratch_rows(arithmetic: Arithmetic, hyper: Hyper) -> int:
    """Rows of scratch memory for `step_block`."""
    return max(program.rows for program in programs(arithmetic, hyper)) + 1


def step_block(
    arrays: Mapping[str, np.ndarray],
    scalars: Mapping[str, Operand],
    hyper: Hyper,
    arithmetic: Arithmetic,
    evaluator: Evaluator,
    scratch: np.ndarray,
) -> None:
    """One step in place on w, m, v, under AMSGrad vmax, and g, which L2 decay overwrites.

    arrays: of one shape, in the evaluator's working format; scalars: of that format, of any shape that broadcasts.
    """
    if evaluator.flushes:
        for array in arrays.values():
            flush_subnormals(array)
    values: dict[str, Operand] = {**scalars, **arrays, "x": arrays["vmax" if hyper.amsgrad else "v"]}
    for program in programs(arithmetic, hyper):
        evaluator.run(program, values, scratch)
