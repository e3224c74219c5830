"""The from-scratch Adam: one step, pure or in place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.adam import stages
from parity.adam.arithmetic import Arithmetic, working_format
from parity.adam.convention import Convention, StepCount
from parity.adam.scalars import Scalars, scalars
from parity.adam.workspace import Scratch, Workspace
from parity.errors import ParityError
from parity.hyper import Hyper
from parity.numerics.formats import format_of
from parity.state import Arrays, State

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
) -> State:
    """The state after one step, in new arrays.

    state: w, m and v, and vmax where hyper.amsgrad. gradient: arrays of the shapes and dtypes of w, or
    None, which leaves a parameter as it is. t: 1-based step, picks lr. counts: t of the bias correction
    by parameter, `t` for all where omitted. Formula: `stages`. ParityError where the gradient's shape
    or dtype is not that of w. Numbers that overflow are inf, 0 / 0 is NaN, without a warning.
    """
    m, v, vmax = (None if arrays is None else _copies(arrays) for arrays in (state.m, state.v, state.vmax))
    after = State(_copies(state.w), m, v, vmax)
    with Workspace(threads=1) as workspace:
        step_in_place(after, gradient, hyper, convention, arithmetic, t, counts, workspace)
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
        tensors = [w, m_of[name], v_of[name]]
        if hyper.amsgrad and vmax_of is not None:
            tensors.append(vmax_of[name])
        _update(tensors, g, hyper, convention, arithmetic, lr, count, workspace)


def _update(
    tensors: list[np.ndarray],
    gradient: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: float,
    count: int,
    workspace: Workspace,
) -> None:
    """One parameter's step; tensors: w, m, v and, under AMSGrad, vmax."""
    stored = format_of(tensors[0])
    working = working_format(arithmetic, stored)
    factors = scalars(hyper, convention, lr, count, working)
    rows = [_row(tensor) for tensor in tensors]
    g_row = np.ascontiguousarray(gradient).reshape(-1)

    def in_dtype(place: slice, scratch: Scratch) -> None:
        spare = scratch.rows(2, place.stop - place.start, working.dtype)
        _update_block([row[place] for row in rows], g_row[place], factors, hyper, convention, spare)

    def at_store(place: slice, scratch: Scratch) -> None:
        wide = scratch.rows(len(rows) + 3, place.stop - place.start, working.dtype)
        blocks, g, spare = list(wide[:-3]), wide[-3], wide[-2:]
        for block, row in zip(blocks, rows, strict=True):
            np.copyto(block, row[place])
        np.copyto(g, g_row[place])
        _update_block(blocks, g, factors, hyper, convention, spare)
        for block, row in zip(blocks, rows, strict=True):
            np.copyto(row[place], block, casting="unsafe")

    workspace.each_block(g_row.size, in_dtype if working is stored else at_store)


def _update_block(
    blocks: list[np.ndarray],
    g: np.ndarray,
    factors: Scalars,
    hyper: Hyper,
    convention: Convention,
    spare: np.ndarray,
) -> None:
    """All stages on one block; blocks: w, m, v and, under AMSGrad, vmax; spare: two rows."""
    w, m, v, *maximum = blocks
    if hyper.weight_decay != 0:
        if hyper.decoupled:
            stages.decay_weights(w, factors)
        else:
            stages.decay_gradient(g, w, factors, out=spare[1])
            g = spare[1]
    stages.first_moment(m, g, factors, spare[0])
    stages.second_moment(v, g, factors, spare[0])
    for vmax in maximum:
        stages.largest_second_moment(vmax, v)
        v = vmax
    stages.weights(w, m, v, factors, convention.epsilon, (spare[0], spare[1]))


def _row(tensor: np.ndarray) -> np.ndarray:
    """A view (size,) of a tensor."""
    if not tensor.flags.c_contiguous:
        raise ParityError("a step in place needs C-contiguous arrays")
    return tensor.reshape(-1)


def _copies(arrays: Arrays) -> Arrays:
    return {name: np.array(array, order="C") for name, array in arrays.items()}
