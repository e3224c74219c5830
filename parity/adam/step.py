"""The from-scratch Adam: one step, pure or in place, and many steps at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from parity.adam.arithmetic import Arithmetic, Setting, SquareRoot, Subnormals, parts, setting_of, working_format
from parity.adam.compiler import Manner, StepCode, compiled_step, memory, step_code
from parity.adam.convention import Convention, StepCount
from parity.adam.gradients import idle_elements
from parity.adam.interpreter import interpreted_step
from parity.adam.scalars import ArraySquareRoot, Exponents, Scalars, scalars
from parity.adam.stages import programs
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.state import Arrays, Rows, State
from parity.numerics.formats import Format, format_of
from parity.numerics.jit import Kernel
from parity.numerics.threads import at_once

Gradient = Mapping[str, np.ndarray | None]
Counts = Mapping[str, int]

COMPILED = 1 << 17
"""Elements of all steps together from which on a step is compiled; to interpret fewer takes less time than that."""

LONG = 1 << 18
"""Elements of all steps together from which on they are shared out to threads."""

OF_T = ("k1", "k2", "r2", "alpha", "i1", "i2", "step")
"""Scalars that come of t."""

_LEAST = 64
"""Columns of a block are a multiple of this."""


def initial_state(weights: Arrays, hyper: Hyper) -> State:
    """The state before step 1: copies of the weights, moments of zeros, vmax under AMSGrad only."""

    def zeros() -> Arrays:
        return {name: np.zeros(w.shape, w.dtype) for name, w in weights.items()}

    return State(_copies(weights), zeros(), zeros(), zeros() if hyper.amsgrad else None)


def counted(counts: Counts, gradient: Gradient, convention: Convention) -> dict[str, int]:
    """The t of every parameter's bias correction in the step that takes `gradient`; `counts`: in the last."""
    every = convention.step_count is StepCount.GLOBAL
    return {name: count + (every or gradient[name] is not None) for name, count in counts.items()}


def step(
    state: State,
    gradient: Gradient,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    t: int,
    counts: Counts | None = None,
    library: ArraySquareRoot | None = None,
) -> State:
    """The state after one step, in new arrays.

    state: w, m and v, and vmax where hyper.amsgrad. gradient: arrays of the shapes and dtypes of w, or
    None, which leaves a parameter as it is. t: 1-based step, picks lr. counts: t of the bias correction
    by parameter, `t` for all where omitted. library: the square root that `arithmetic` may ask for. Formula:
    `parity.adam.forms`. ParityError where the gradient's shape or dtype is not that of w. Numbers that overflow are
    inf, 0 / 0 is NaN, without a warning; which sign and payload a NaN has is the processor's choice.
    """
    m, v, vmax = (None if arrays is None else _copies(arrays) for arrays in (state.m, state.v, state.vmax))
    after = State(_copies(state.w), m, v, vmax)
    step_in_place(after, gradient, hyper, convention, arithmetic, t, counts, library)
    return after


def step_in_place(
    state: State,
    gradient: Gradient,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    t: int,
    counts: Counts | None = None,
    library: ArraySquareRoot | None = None,
) -> None:
    """As `step`, bit for bit, but overwrites the arrays of `state`, which have to be C-contiguous."""
    m_of, v_of, vmax_of = state.m, state.v, state.vmax
    if m_of is None or v_of is None or (vmax_of is None and hyper.amsgrad):
        raise ParityError("an Adam step needs m and v, and vmax under AMSGrad")
    shapes = {name: w.shape for name, w in state.w.items()}
    for name, w in state.w.items():
        g = gradient[name]
        if g is None:
            continue
        if g.shape != w.shape or g.dtype != w.dtype:
            raise ParityError(f"{name}: gradient is {g.dtype}{g.shape}, weights are {w.dtype}{w.shape}")
        own = hyper.of(name)
        rows = Rows(*(None if arrays is None else _row(arrays[name]) for arrays in (state.w, m_of, v_of, vmax_of)))  # type: ignore[arg-type]
        count = [t if counts is None else counts[name]]
        setting = setting_of(name, shapes, hyper)
        lr = [own.lr_at(t)]
        _advance(
            rows, g.reshape(1, -1), own.over([t]), convention, arithmetic, lr, count, library, setting, carries=False
        )


def free_steps(
    start: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Exponents,
    library: ArraySquareRoot | None = None,
    setting: Setting | None = None,
) -> Rows:
    """The states after each step, (steps, size), each from the one before, bit for bit those of `step`.

    start: the state before, rows (size,); gradients: (steps, size), one dtype; lr, counts: step size and t of the bias
    correction, (steps,), as `scalars` takes them. hyper: betas that change are those of these steps. setting: of the
    tensor, where omitted (size,) beside others.
    """
    after = Rows(*(None if row is None else np.empty(gradients.shape, row.dtype) for row in start))  # type: ignore[arg-type]
    for rows, row in zip(after, start, strict=True):
        if rows is not None:
            rows[:1] = row
    where = setting or Setting(gradients.shape[1:], 2)
    _advance(after, gradients, hyper, convention, arithmetic, lr, counts, library, where, carries=True)
    return after


def lock_step(
    before: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Exponents,
    library: ArraySquareRoot | None = None,
    setting: Setting | None = None,
) -> Rows:
    """The states that an Adam makes of recorded ones: row i from row i of `before` and of `gradients`.

    before, gradients: (steps, size), one dtype; lr, counts: step size and t of the bias correction, (steps,). One
    step's error never reaches the next. The orbit of an implementation whose every row equals this one, bit for bit,
    is the orbit of this Adam: by induction, as both begin at the same state. setting: of the tensor, where omitted
    (size,) beside others.
    """
    after = Rows(*(None if rows is None else np.array(rows, order="C") for rows in before))  # type: ignore[arg-type]
    where = setting or Setting(gradients.shape[1:], 2)
    _advance(after, gradients, hyper, convention, arithmetic, lr, counts, library, where, carries=False)
    return after


_ASKED = {SquareRoot.IEEE: "", SquareRoot.LIBRARY: "sqrt", SquareRoot.REFINED: "rsqrt"}
"""The operation of a step for which a library is asked."""


def _advance(
    rows: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Exponents,
    library: ArraySquareRoot | None,
    setting: Setting,
    carries: bool,
) -> None:
    """Overwrites rows (steps, size) by the states after them; carries: each row begins as the one before ends."""
    if arithmetic.asks_library and library is None:
        raise ParityError("this arithmetic takes square roots by a framework's library, and none is given")
    if convention.lazy_rows:
        _advance_lazily(rows, gradients, hyper, convention, arithmetic, lr, counts, library, setting, carries)
        return
    asks = "" if library is None else _ASKED[arithmetic.square_root]
    stored = format_of(rows.w)
    factors = scalars(hyper, convention, arithmetic.factors, lr, counts, stored, library)
    if setting.forming is not None:
        theirs = scalars(hyper, convention, setting.forming.factors, lr, counts, setting.forming.format, library)
        factors = {**factors, **{name: theirs[name] for name in OF_T}}
    quantities = ("w", "m", "v", "vmax") if hyper.amsgrad else ("w", "m", "v")
    taken = [memory(np.asarray(getattr(rows, name)), stored) for name in quantities]
    given = memory(np.require(np.asarray(gradients), None, ("C", "A")), stored).view()
    # Arrays that may be written to are another type to the compiler.
    given.flags.writeable = False
    manner = Manner(stored, arithmetic.rounding, arithmetic.subnormals is Subnormals.FLUSHED)
    has_eps = bool(np.any(factors["eps"] != 0))
    make = compiled_step if given.size >= COMPILED else interpreted_step
    for place, stages in parts(arithmetic, setting):
        code = step_code(programs(stages, hyper, has_eps), quantities, manner, asks, make)
        columns = _columns(factors, code.factors, len(given), working_format(stored))
        if library is None or code.radicands is None:
            _in_blocks(code.run, (*taken, given), columns, carries, place)
        else:
            _with_library(code, code.radicands, taken, given, columns, carries, place, library)


def _advance_lazily(
    rows: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Exponents,
    library: ArraySquareRoot | None,
    setting: Setting,
    carries: bool,
) -> None:
    """As `_advance`, and rows without a gradient stay as they are."""
    moves = replace(convention, lazy_rows=False)
    idle = idle_elements(gradients, setting.shape)
    arrays = [one for one in rows if one is not None]
    steps = len(gradients)
    for each in [slice(step, step + 1) for step in range(steps)] if carries else [slice(0, steps)]:
        if carries and each.start:
            for one in arrays:
                one[each] = one[each.start - 1]
        before = [one[each].copy() for one in arrays]
        now = Rows(*(None if one is None else one[each] for one in rows))  # type: ignore[arg-type]
        own, own_counts = hyper.over(range(each.start + 1, each.stop + 1)), np.asarray(counts)[..., each]
        _advance(now, gradients[each], own, moves, arithmetic, lr[each], own_counts, library, setting, carries=False)
        for one, kept in zip(arrays, before, strict=True):
            np.copyto(one[each], kept, where=idle[each])


def _with_library(
    code: StepCode,
    radicands: Kernel,
    rows: Sequence[np.ndarray],
    gradients: np.ndarray,
    factors: np.ndarray,
    carries: bool,
    place: slice,
    library: ArraySquareRoot,
) -> None:
    """Asks for the roots of all steps at once, or of one after the other where they depend on weights."""
    alone = carries and code.feeds_back
    roots = np.empty(gradients.shape, factors.dtype)
    for each in [slice(step, step + 1) for step in range(len(gradients))] if alone else [slice(None)]:
        if alone and each.start:
            for one in rows:
                one[each, place] = one[each.start - 1, place]
        moved = [one[each] for one in rows]
        given, root, columns = gradients[each], roots[each], factors[each]
        copies = [one.copy() for one in moved]
        _in_blocks(radicands, (*copies, given, root), columns, carries and not alone, place)
        with np.errstate(all="ignore"):
            root[:, place] = library(np.ascontiguousarray(root[:, place]))
        _in_blocks(code.run, (*moved, given, root), columns, carries and not alone, place)


def _in_blocks(kernel: Kernel, arrays: Sequence[np.ndarray], factors: np.ndarray, carries: bool, place: slice) -> None:
    """Runs a kernel on columns of arrays, long ones in blocks by several threads."""
    size = place.stop - place.start
    if size * len(factors) < LONG or (threads := os.cpu_count() or 1) < 2:
        kernel(*arrays, factors, carries, place.start, place.stop)
        return
    width = -(-size // (threads * _LEAST)) * _LEAST
    at_once(
        [
            partial(kernel, *arrays, factors, carries, left, min(left + width, place.stop))
            for left in range(place.start, place.stop, width)
        ]
    )


def _columns(factors: Scalars, names: Sequence[str], steps: int, working: Format) -> np.ndarray:
    """Scalars (steps, names)."""
    columns = np.empty((steps, len(names)), working.dtype)
    for place, name in enumerate(names):
        columns[:, place] = factors[name]
    return columns


def _row(tensor: np.ndarray) -> np.ndarray:
    """A view (1, size) of a tensor."""
    if not tensor.flags.carray:
        raise ParityError("a step in place needs C-contiguous arrays that may be written to")
    return tensor.reshape(1, -1)


def _copies(arrays: Arrays) -> Arrays:
    return {name: np.array(array, order="C") for name, array in arrays.items()}
