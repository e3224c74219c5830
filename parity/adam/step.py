"""The from-scratch Adam: one step, pure or in place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.adam.arithmetic import Arithmetic, Setting, parts
from parity.adam.convention import Convention, StepCount
from parity.adam.evaluation import ArraySquareRoot, Evaluator, Operand, evaluator
from parity.adam.scalars import scalars
from parity.adam.stages import scratch_rows, step_block
from parity.adam.workspace import Scratch, Workspace
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.state import Arrays, State
from parity.numerics.formats import format_of

Gradient = Mapping[str, np.ndarray | None]
Counts = Mapping[str, int]


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
    `forms`. ParityError where the gradient's shape
    or dtype is not that of w. Numbers that overflow are inf, 0 / 0 is NaN, without a warning.
    """
    m, v, vmax = (None if arrays is None else _copies(arrays) for arrays in (state.m, state.v, state.vmax))
    after = State(_copies(state.w), m, v, vmax)
    with Workspace(threads=1) as workspace:
        step_in_place(after, gradient, hyper, convention, arithmetic, t, counts, workspace, library)
    return after


def step_in_place(
    state: State,
    gradient: Gradient,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    t: int,
    counts: Counts | None,
    workspace: Workspace,
    library: ArraySquareRoot | None = None,
) -> None:
    """As `step`, bit for bit, but overwrites the arrays of `state`, which have to be C-contiguous."""
    m_of, v_of, vmax_of = state.m, state.v, state.vmax
    if m_of is None or v_of is None or (vmax_of is None and hyper.amsgrad):
        raise ParityError("an Adam step needs m and v, and vmax under AMSGrad")
    lr = hyper.lr_at(t)
    for name, w in state.w.items():
        g = gradient[name]
        if g is None:
            continue
        if g.shape != w.shape or g.dtype != w.dtype:
            raise ParityError(f"{name}: gradient is {g.dtype}{g.shape}, weights are {w.dtype}{w.shape}")
        count = t if counts is None else counts[name]
        factors = {
            name: value[0]
            for name, value in scalars(hyper, convention, arithmetic.factors, [lr], [count], format_of(w)).items()
        }
        rows = {"w": _row(w), "m": _row(m_of[name]), "v": _row(v_of[name])}
        if hyper.amsgrad and vmax_of is not None:
            rows["vmax"] = _row(vmax_of[name])
        gradient_row = np.ascontiguousarray(g).reshape(-1)
        compute = evaluator(arithmetic, format_of(w), library)
        for place, stages in parts(arithmetic, Setting(w.shape, len(state.w))):
            cut = {quantity: row[place] for quantity, row in rows.items()}
            _update(cut, gradient_row[place], factors, hyper, stages, compute, workspace)


def _update(
    rows: dict[str, np.ndarray],
    gradient: np.ndarray,
    factors: Mapping[str, Operand],
    hyper: Hyper,
    arithmetic: Arithmetic,
    compute: Evaluator,
    workspace: Workspace,
) -> None:
    """One step of rows (size,): w, m, v and, under AMSGrad, vmax."""
    spare = scratch_rows(arithmetic, hyper)
    working = compute.working.dtype
    # L2 decay writes into the gradient, which is not ours.
    copies_gradient = hyper.weight_decay != 0 and not hyper.decoupled

    def in_place(place: slice, scratch: Scratch) -> None:
        memory = scratch.rows(spare + 1, place.stop - place.start, working)
        g = gradient[place]
        if copies_gradient:
            np.copyto(memory[0], g)
            g = memory[0]
        blocks = {name: row[place] for name, row in rows.items()}
        step_block({**blocks, "g": g}, factors, hyper, arithmetic, compute, memory[1:])

    def on_copies(place: slice, scratch: Scratch) -> None:
        memory = scratch.rows(spare + 1 + len(rows), place.stop - place.start, working)
        copies = dict(zip((*rows, "g"), memory, strict=False))
        for name, row in rows.items():
            np.copyto(copies[name], row[place])
        np.copyto(copies["g"], gradient[place])
        step_block(copies, factors, hyper, arithmetic, compute, memory[len(copies) :])
        for name, row in rows.items():
            np.copyto(row[place], copies[name], casting="unsafe")

    workspace.each_block(gradient.size, in_place if compute.in_place else on_copies)


def _row(tensor: np.ndarray) -> np.ndarray:
    """A view (size,) of a tensor."""
    if not tensor.flags.c_contiguous:
        raise ParityError("a step in place needs C-contiguous arrays")
    return tensor.reshape(-1)


def _copies(arrays: Arrays) -> Arrays:
    return {name: np.array(array, order="C") for name, array in arrays.items()}
