"""One Adam step on a block of elements: the stages in their order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from parity.adam.arithmetic import Arithmetic
from parity.adam.evaluation import Evaluator, Operand
from parity.adam.kernels import Program, compiled
from parity.core.hyper import Hyper
from parity.numerics.flush import flush_subnormals

_ARRAYS = ("w", "m", "v", "vmax", "g")


@cache
def programs(arithmetic: Arithmetic, hyper: Hyper, has_eps: bool) -> tuple[Program, ...]:
    """What a step runs, in order: L2 or decoupled decay where asked, moments, AMSGrad's maximum where asked, update.

    has_eps: whether eps is not 0 once it is rounded.
    """
    texts: list[str] = []
    if hyper.weight_decay != 0:
        texts.append(arithmetic.decay_weights if hyper.decoupled else arithmetic.decay_gradient)
    texts += [arithmetic.first_moment, arithmetic.second_moment]
    if hyper.amsgrad and "vmax" not in arithmetic.update:
        texts.append(arithmetic.maximum)
    texts.append(arithmetic.update)
    return tuple(compiled(_asked_for(text, hyper, has_eps), _ARRAYS) for text in texts)


def _asked_for(text: str, hyper: Hyper, has_eps: bool) -> str:
    """A program without the lines whose condition does not hold."""
    decays = hyper.weight_decay != 0
    asked = {
        "decoupled": decays and hyper.decoupled,
        "l2": decays and not hyper.decoupled,
        "without l2": not decays or hyper.decoupled,
        "amsgrad": hyper.amsgrad,
        "with eps": has_eps,
        "without eps": not has_eps,
    }
    lines = [line.strip().rpartition(": ") for line in text.split(";")]
    return ";".join(line for condition, _, line in lines if asked.get(condition, True))


def scratch_rows(arithmetic: Arithmetic, hyper: Hyper) -> int:
    """Rows of scratch memory for `step_block`."""
    every = (program for has_eps in (True, False) for program in programs(arithmetic, hyper, has_eps))
    return max(program.rows for program in every) + 1


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
    for program in programs(arithmetic, hyper, bool(np.any(scalars["eps"] != 0))):
        evaluator.run(program, values, scratch)
