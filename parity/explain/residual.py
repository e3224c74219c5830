"""What a twin leaves of an implementation's trace: 0 differing bits, or where and how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from parity.adam.arithmetic import Setting
from parity.adam.lock_step import Rows as States
from parity.adam.lock_step import lock_step
from parity.adam.oracle import Block
from parity.comparison.trace import Trace
from parity.core.layout import Layout
from parity.core.state import QUANTITIES
from parity.explain.inputs import Inputs, counts_in
from parity.explain.running import Adam, Rows, free_run
from parity.numerics.formats import to_bits
from parity.numerics.ulp import ulp_distance


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
    """Differences of one quantity, added up block by block."""

    quantity: str
    layout: Layout
    compared: int = 0
    differing: int = 0
    max_ulp: int = 0
    first: Place | None = None
    differing_at: list[int] = field(default_factory=list)

    def add(self, steps: range, actual: np.ndarray, expected: np.ndarray) -> None:
        """Rows (steps, size) of both sides, in one dtype."""
        self.compared += actual.size
        left, right = to_bits(np.ascontiguousarray(actual)), to_bits(np.ascontiguousarray(expected))
        differs = left != right
        if differs.any():
            differs &= ~((actual != actual) & (expected != expected))
        each = np.count_nonzero(differs, axis=1).tolist()
        self.differing_at += each
        self.differing += sum(each)
        if not any(each):
            return
        self.max_ulp = max(self.max_ulp, int(ulp_distance(actual[differs], expected[differs]).max()))
        if self.first is None:
            place = next(place for place, number in enumerate(each) if number)
            column = int(np.argmax(differs[place]))
            name, start = next(
                (parameter.name, where.start) for parameter, where in self.layout.slices() if column < where.stop
            )
            pair = (float(actual[place, column]).hex(), float(expected[place, column]).hex())
            self.first = Place(steps[place], name, column - start, *pair)

    @property
    def difference(self) -> Difference:
        """The sum."""
        return Difference(self.quantity, self.compared, self.differing, self.max_ulp, self.first)


def residual(trace: Trace, inputs: Inputs, adam: Adam, steps: int | None = None) -> Residual:
    """Holds a trace against a from-scratch Adam, in blocks of steps; `steps`: only so many first ones.

    ParityError where the trace answers another question than `inputs`.
    """
    inputs.check(trace)
    shown = trace.quantities
    needed = {"m", "v", "w"} | ({"vmax"} if adam.hyper.amsgrad else set())
    locked = needed <= set(shown)
    tallies = {name: Tally(name, trace.layout) for name in QUANTITIES if name in shown and name in needed}
    arrays = {name: trace.array(name) for name in tallies}
    blocks = inputs.blocks(steps)
    made = (
        _from_recorded(arrays, inputs.layout, blocks, adam)
        if locked
        else free_run(adam, inputs.weights(), inputs.layout, blocks)
    )
    for block, rows in made:
        for name, tally in tallies.items():
            tally.add(block.steps, arrays[name][block.steps[0] : block.steps[-1] + 1], rows[name])
    return Residual(trace.implementation, locked, tuple(tally.difference for tally in tallies.values()))


def _from_recorded(
    arrays: Mapping[str, np.ndarray], layout: Layout, blocks: Iterable[Block], adam: Adam
) -> Iterator[tuple[Block, Rows]]:
    counts = np.zeros(len(layout.parameters), np.int64)
    for block in blocks:
        counted = counts_in(block, counts, adam.twin.convention)
        counts = counted[-1]
        before = {name: array[block.steps[0] - 1 : block.steps[-1]] for name, array in arrays.items()}
        # A parameter without a gradient has to stay as it was.
        after = {name: np.array(rows) for name, rows in before.items()}
        for number, (parameter, place) in enumerate(layout.slices()):
            present = block.present[:, number]
            if place.stop > place.start and present.any():
                setting = Setting(parameter.shape, len(layout.parameters))
                _step_parameter(after, before, block, place, present, counted[:, number], adam, setting)
        yield block, after


def _step_parameter(
    after: Rows,
    before: Rows,
    block: Block,
    place: slice,
    present: np.ndarray,
    counts: np.ndarray,
    adam: Adam,
    setting: Setting,
) -> None:
    made = lock_step(
        States(**{name: np.ascontiguousarray(rows[present, place]) for name, rows in before.items()}),
        np.ascontiguousarray(block.gradients[present, place]),
        adam.hyper,
        adam.twin.convention,
        adam.twin.arithmetic,
        [adam.hyper.lr_at(step) for step, here in zip(block.steps, present, strict=True) if here],
        counts[present].tolist(),
        adam.library,
        setting,
    )
    for name, rows in after.items():
        rows[present, place] = getattr(made, name)
