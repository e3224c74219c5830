"""What a twin leaves of an implementation's trace: 0 differing bits, or where and how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.adam.arithmetic import Setting, setting_of
from parity.adam.gradients import Block, counts_in
from parity.adam.step import lock_step
from parity.comparison.trace import Trace
from parity.core.layout import Layout
from parity.core.state import QUANTITIES
from parity.core.state import Rows as States
from parity.explain.inputs import Inputs
from parity.explain.running import Adam, Rows, free_run, taken_by
from parity.numerics.formats import Format, format_of, formats_in, in_format, to_bits, widest
from parity.numerics.jit import compiled
from parity.numerics.ulp import NO_DISTANCE


@dataclass(frozen=True, slots=True)
class Place:
    """The first element that differs: 1-based step, parameter, flat index in it, both values as hex floats."""

    step: int
    parameter: str
    index: int
    actual: str
    expected: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity of two orbits: elements of all steps, those of other bits, their largest distance in ULP.

    NaN of any payload are equal; zeros of other signs are not, at 0 ULP. first: None where nothing differs.
    """

    quantity: str
    compared: int
    differing: int
    max_ulp: int
    first: Place | None


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of a trace when a twin's orbit is taken away.

    lock_step: every step was made from the recorded state before it, so that nothing adds up; else (m or v is
    hidden) the twin ran freely. differences: the quantities that the trace shows.
    """

    implementation: str
    lock_step: bool
    differences: tuple[Difference, ...]

    @property
    def differing(self) -> int:
        """Elements with other bits, of all quantities."""
        return sum(one.differing for one in self.differences)


@dataclass
class Tally:
    """Differences of one quantity, added up block by block; formats: of each parameter, where they are several."""

    quantity: str
    layout: Layout
    formats: tuple[Format, ...] = ()
    compared: int = 0
    differing: int = 0
    max_ulp: int = 0
    first: Place | None = None

    def add(self, steps: range, actual: np.ndarray, expected: np.ndarray) -> None:
        """Rows (steps, size) of both sides, C-contiguous and writeable; those of two dtypes in the wider one."""
        self.compared += actual.size
        if len({*self.formats}) > 1:
            for (_, place), format in zip(self.layout.slices(), self.formats, strict=True):
                left, right = _rows_in(actual[:, place], format), _rows_in(expected[:, place], format)
                self._add(steps, left, right, place.start)
            return
        format = widest((format_of(actual), format_of(expected)))
        self._add(steps, _rows_in(actual, format), _rows_in(expected, format), 0)

    def _add(self, steps: range, actual: np.ndarray, expected: np.ndarray, start: int) -> None:
        """Columns from `start` on."""
        format = format_of(actual)
        limits = np.uint64(format.sign_bit - 1), np.uint64(format.infinity_bits)
        differing, max_ulp, place, column = differing_bits(to_bits(actual), to_bits(expected), *limits)
        self.differing += differing
        self.max_ulp = max(self.max_ulp, int(max_ulp))
        if differing and self.first is None:
            at = start + column
            name, left = next((one.name, where.start) for one, where in self.layout.slices() if at < where.stop)
            pair = (float(actual[place, column]).hex(), float(expected[place, column]).hex())
            self.first = Place(steps[place], name, at - left, *pair)

    @property
    def difference(self) -> Difference:
        """The sum."""
        return Difference(self.quantity, self.compared, self.differing, self.max_ulp, self.first)


def _rows_in(rows: np.ndarray, format: Format) -> np.ndarray:
    """Rows as the compiled code takes them."""
    return np.require(in_format(rows, format), None, ("C", "W"))


@compiled
def distance(one: np.uint64, other: np.uint64, magnitude: np.uint64, infinity: np.uint64) -> np.uint64:
    """As `parity.numerics.ulp.ulp_distance` has it, of bits."""
    left, right = one & magnitude, other & magnitude
    high, low = max(left, right), min(left, right)
    if one == other or low > infinity:
        return np.uint64(0)
    if high >= infinity:
        return np.uint64(NO_DISTANCE)
    return high - low if (one ^ other) <= magnitude else high + low


@compiled
def differing_bits(
    left: np.ndarray, right: np.ndarray, magnitude: np.uint64, infinity: np.uint64
) -> tuple[int, np.uint64, int, int]:
    """Elements with other bits, their largest distance in ULP, row and column of the first; NaN is NaN.

    left, right: unsigned bits (rows, columns); magnitude: all bits but the sign; infinity: those of inf.
    """
    differing, row, column, largest = 0, 0, 0, np.uint64(0)
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            one, other = np.uint64(left[i, j]), np.uint64(right[i, j])
            if one == other or ((one & magnitude) > infinity and (other & magnitude) > infinity):
                continue
            if differing == 0:
                row, column = i, j
            differing += 1
            largest = max(largest, distance(one, other, magnitude, infinity))
    return differing, largest, row, column


def residual(trace: Trace, inputs: Inputs, adam: Adam, steps: int | None = None) -> Residual:
    """Holds a trace against a from-scratch Adam, in blocks of steps; `steps`: only so many first ones.

    ParityError where the trace answers another question than `inputs`.
    """
    inputs.check(trace)
    shown = trace.quantities
    needed = {"m", "v", "w", *(("vmax",) * adam.hyper.amsgrad), *(("average",) * adam.hyper.stages.shows_average)}
    # What the average of the weights is made of is not recorded.
    locked = needed <= set(shown) and adam.hyper.stages.average is None
    # What is wider than this Adam has it can be no state of its.
    locked = locked and all(trace.formats[name] == trace.formats["w"] for name in needed)
    tallies = {
        name: Tally(name, trace.layout, trace.formats[name]) for name in QUANTITIES if name in shown and name in needed
    }
    arrays = {name: trace.array(name) for name in tallies}
    blocks = inputs.blocks(steps)
    made = (
        _from_recorded(arrays, inputs, blocks, adam)
        if locked
        else free_run(adam, inputs.start(), inputs.layout, blocks)
    )
    for block, rows in made:
        for name, tally in tallies.items():
            tally.add(block.steps, np.array(arrays[name][block.steps[0] : block.steps[-1] + 1]), rows[name])
    return Residual(trace.implementation, locked, tuple(tally.difference for tally in tallies.values()))


def _from_recorded(
    arrays: Mapping[str, np.ndarray], inputs: Inputs, blocks: Iterable[Block], adam: Adam
) -> Iterator[tuple[Block, Rows]]:
    counts, layout = inputs.counts, inputs.layout
    formats = formats_in(layout, inputs.format)
    shapes = {one.name: one.shape for one in layout.parameters}
    for block, first in taken_by(adam, blocks, layout):
        counted = counts_in(block, counts, adam.twin.convention)
        counts = counted[-1]
        before = {name: array[block.steps[0] - 1 : block.steps[-1]] for name, array in arrays.items()}
        # A parameter without a gradient has to stay as it was.
        after = {name: np.array(rows) for name, rows in before.items()}
        for number, (parameter, place) in enumerate(layout.slices()):
            present = block.present[:, number]
            if place.stop > place.start and present.any():
                setting, hyper = setting_of(parameter.name, shapes, adam.hyper), adam.hyper.of(parameter.name)
                twin, setting = adam.on(parameter, first, setting)
                own = replace(adam, hyper=hyper, twin=twin)
                _step_parameter(after, before, block, place, formats[number], present, counted[:, number], own, setting)
        yield block, after


def _step_parameter(
    after: Rows,
    before: Rows,
    block: Block,
    place: slice,
    format: Format,
    present: np.ndarray,
    counts: np.ndarray,
    adam: Adam,
    setting: Setting,
) -> None:
    """adam: of that parameter, with hyperparameters of its own."""
    hyper = adam.hyper
    made = lock_step(
        States(
            **{name: np.ascontiguousarray(in_format(rows[present, place], format)) for name, rows in before.items()}
        ),
        np.ascontiguousarray(in_format(block.gradients[present, place], format)),
        hyper.over([step for step, here in zip(block.steps, present, strict=True) if here]),
        adam.twin.convention,
        adam.twin.arithmetic,
        [hyper.lr_at(step) for step, here in zip(block.steps, present, strict=True) if here],
        counts[present].tolist(),
        adam.library,
        setting,
    )
    for name, rows in after.items():
        rows[present, place] = getattr(made, name)
