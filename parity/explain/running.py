"""An Adam on its own way through the inputs, from its own states: any twin, or a mixture of two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from parity.adam.arithmetic import Forming, Setting, setting_of
from parity.adam.average import Averaged
from parity.adam.gradients import Block, counts_in, taken
from parity.adam.scalars import ArraySquareRoot
from parity.adam.step import free_steps
from parity.adam.twin import Twin
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter
from parity.core.state import QUANTITIES, Start
from parity.core.state import Rows as States
from parity.numerics.formats import format_named, format_of, formats_in, in_format
from parity.numerics.jit import compiled
from parity.numerics.rounding import round_to


@dataclass(frozen=True, slots=True)
class Adam:
    """A from-scratch Adam with everything it needs; library: the square root its arithmetic may ask for.

    others: what it is on parameters whose dtype is not that of the case, by that dtype.
    """

    hyper: Hyper
    twin: Twin
    library: ArraySquareRoot | None = None
    others: tuple[tuple[str, Twin], ...] = ()

    def on(self, parameter: Parameter, first: Parameter, setting: Setting) -> tuple[Twin, Setting]:
        """The twin of a parameter, and where it stands beside the first that has a gradient."""
        twin, leading = (dict(self.others).get(one.dtype, self.twin) for one in (parameter, first))
        if not twin.scalars_of_first or first.dtype == parameter.dtype:
            return twin, setting
        forming = Forming(format_named(first.dtype), leading.arithmetic.factors)
        return twin, setting._replace(forming=forming)


Rows = dict[str, np.ndarray]
"""States after consecutive steps by quantity, each (steps, size)."""

Recount = Callable[[np.ndarray], np.ndarray]
"""From the t of every parameter's bias correction to another, (steps, parameters)."""


def taken_by(
    adam: Adam, blocks: Iterable[Block], layout: Layout, *, as_taken: bool = False
) -> Iterator[tuple[Block, Parameter]]:
    """What an Adam takes of the gradients that it is given, and the first tensor that has one, the same in a block.

    as_taken: whether blocks are that already.
    """
    arithmetic, convention = adam.twin.arithmetic, adam.twin.convention
    around = adam.hyper.stages, arithmetic.clipping, arithmetic.reduction, convention.scale_range
    for block in blocks if as_taken else taken(blocks, layout, *around):
        firsts = np.argmax(block.present, axis=1)
        ends = [*(np.flatnonzero(np.diff(firsts)) + 1), len(firsts)] if layout.mixed else [len(firsts)]
        for start, stop in pairwise([0, *ends]):
            cut = Block(*(None if rows is None else rows[start:stop] for rows in block))  # type: ignore[arg-type]
            yield cut, layout.parameters[firsts[start]]


def free_run(
    adam: Adam,
    start: Start,
    layout: Layout,
    blocks: Iterable[Block],
    recount: Recount | None = None,
    *,
    as_taken: bool = False,
) -> Iterator[tuple[Block, Rows]]:
    """The orbit, block by block, in the dtype of its start; where weights are averaged, blocks end where they are.

    recount: what a wrong counter makes of t. as_taken: whether blocks are what the Adam takes already. A wide state is
    made in its dtype, and is what it is kept as.
    """
    wide = adam.hyper.stages.state
    if wide is None:
        yield from _free_run(adam, start, layout, blocks, recount, as_taken)
        return
    own, computed = format_of(start.rows.w), format_named(wide.dtype)
    kept = {name: format_named(wide.of(name)) if wide.of(name) else own for name in QUANTITIES}
    now = Start(States(*(None if row is None else in_format(row, computed) for row in start.rows)), start.counts)  # type: ignore[arg-type]
    # Without masters every step begins with what was rounded after the one before.
    for block in blocks if wide.master else _one_by_one(blocks):
        for piece, rows in _free_run(adam, now, layout, [block], recount, as_taken):
            shown = {name: round_to(states, kept[name]) for name, states in rows.items()}
            yield piece, shown
            carried = rows if wide.master else {name: in_format(states, computed) for name, states in shown.items()}
            last = {name: states[-1] for name, states in carried.items()}
            counts = counts_in(piece, now.counts, adam.twin.convention)[-1]
            now = Start(now.rows._replace(**last), counts)


def _one_by_one(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same, a step a block."""
    for block in blocks:
        for place in range(len(block.steps)):
            yield Block(*(None if rows is None else rows[place : place + 1] for rows in block))  # type: ignore[arg-type]


def _free_run(
    adam: Adam, start: Start, layout: Layout, blocks: Iterable[Block], recount: Recount | None, as_taken: bool
) -> Iterator[tuple[Block, Rows]]:
    w, shapes = start.rows.w, {one.name: one.shape for one in layout.parameters}
    formats = formats_in(layout, format_of(w))
    average = adam.hyper.stages.average
    how = adam.twin.convention.average_start, adam.twin.arithmetic.averaging
    averaged = None if average is None else Averaged(average, *how, layout, w)
    now: Rows = {name: getattr(start.rows, name) for name in ("w", "m", "v", *(("vmax",) * adam.hyper.amsgrad))}
    counts = start.counts
    for block, first in taken_by(adam, blocks, layout, as_taken=as_taken):
        counted = counts_in(block, counts, adam.twin.convention)
        counts = counted[-1]
        if recount is not None:
            counted = recount(counted)
        rows = {name: np.empty((len(block.steps), w.size), w.dtype) for name in now}
        for number, (parameter, place) in enumerate(layout.slices()):
            if place.stop == place.start:
                continue
            present = block.present[:, number]
            setting, hyper = setting_of(parameter.name, shapes, adam.hyper), adam.hyper.of(parameter.name)
            held = {name: in_format(row[place], formats[number]) for name, row in now.items()}
            given = in_format(block.gradients[present, place], formats[number])
            twin, setting = adam.on(parameter, first, setting)
            made = (
                _steps(held, given, block, present, counted[:, number], adam, twin, hyper, setting)
                if present.any()
                else held
            )
            # Without a gradient, a parameter stays as the last step that had one left it.
            latest = np.cumsum(present)
            for name, row in held.items():
                rows[name][:, place] = np.vstack([row, made[name]])[latest]
        now = {name: row[-1] for name, row in rows.items()}
        if averaged is not None:
            shown = [averaged.after(step, row) for step, row in zip(block.steps, rows["w"], strict=True)]
            if adam.hyper.stages.shows_average:
                rows["average"] = np.array(shown)
        yield block, rows


def _steps(
    start: Rows,
    gradients: np.ndarray,
    block: Block,
    present: np.ndarray,
    counts: np.ndarray,
    adam: Adam,
    twin: Twin,
    hyper: Hyper,
    setting: Setting,
) -> Rows:
    """States of one parameter after the steps in which it has a gradient."""
    made = free_steps(
        States(**start),
        np.ascontiguousarray(gradients),
        hyper.over([step for step, here in zip(block.steps, present, strict=True) if here]),
        twin.convention,
        twin.arithmetic,
        [hyper.lr_at(step) for step, here in zip(block.steps, present, strict=True) if here],
        counts[present].tolist(),
        adam.library,
        setting,
    )
    return {name: getattr(made, name) for name in start}


def units_of(hyper: Hyper, steps: Iterable[int]) -> np.ndarray:
    """lr of every 1-based step, (steps,); where a schedule has come to 0, the largest lr that is asked for."""
    lr = np.array([hyper.lr_at(step) for step in steps])
    return np.where(lr > 0, lr, max(hyper.lr) if isinstance(hyper.lr, tuple) else hyper.lr)


def in_steps(actual: np.ndarray, expected: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """Largest finite ``|actual - expected| / lr`` of every row, (steps,); float64 (steps, size); 0 where lr is 0."""
    gaps: np.ndarray = largest_gaps(actual, expected)
    return np.where(lr > 0, gaps / np.where(lr > 0, lr, 1.0), 0.0)


@compiled
def largest_gaps(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Largest finite ``|actual - expected|`` of every row, 0 where there is none; float64 (steps, size)."""
    found = np.zeros(actual.shape[0])
    for step in range(actual.shape[0]):
        largest = 0.0
        for i in range(actual.shape[1]):
            gap = abs(actual[step, i] - expected[step, i])
            largest = gap if largest < gap < np.inf else largest
        found[step] = largest
    return found
