"""The oracle: the orbit of an Adam in (nearly) exact arithmetic, in any convention."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from parity.adam.arithmetic import Arithmetic, plain
from parity.adam.average import AveragedExactly
from parity.adam.convention import ClipFactor, Convention, Epsilon, Maximum, ScaleRange
from parity.adam.exact import TILE, Values, exact_code, execute, run_exactly
from parity.adam.forms import DecayWeights, Update
from parity.adam.gradients import Block, counts_in, idle_elements, taken_exactly
from parity.adam.kernels import Program, compiled
from parity.adam.scalars import scalars
from parity.adam.stages import programs
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.stages import Stages
from parity.core.state import Start
from parity.numerics.double_double import DoubleDouble, from_double
from parity.numerics.formats import Format
from parity.numerics.jit import compiled as machine_code
from parity.numerics.threads import at_once

EXACT = """
    b1 = beta1; b2 = beta2; c1 = 1 - beta1; c2 = 1 - beta2
    k1 = 1 - power(beta1, t); k2 = 1 - power(beta2, t)
    i1 = 1 / k1; i2 = 1 / k2; r2 = sqrt(k2); step = -(lr / k1); alpha = lr * r2 / k1
    back = -lr; decay = lr * wd; shrink = 1 - lr * wd
"""
"""The scalars of a step in real numbers; names as in `parity.adam.forms`."""

_LONG = 1 << 18
"""Elements of a block, of all its steps and oracles, from which on they are shared out to threads."""

_GRADIENT, _FACTOR = -1, -2

_SCALARS = ("b1", "b2", "c1", "c2", "k1", "k2", "i1", "i2", "r2", "step", "alpha", "back", "decay", "shrink")


@dataclass(frozen=True, slots=True)
class Oracle:
    """What is asked: an Adam with exact scalars, or with those that an arithmetic has in force.

    arithmetic: None for exact scalars. Otherwise its factors, rounded as it rounds them, are taken as exact numbers
    and put where its own forms have them: rounded, b1 and c1 no longer add up to 1, and it matters who is used.
    """

    hyper: Hyper
    convention: Convention
    arithmetic: Arithmetic | None = None

    @property
    def takes(self) -> tuple[Stages, ClipFactor, ScaleRange]:
        """What decides which gradients it takes."""
        return self.hyper.stages, self.convention.clip_factor, self.convention.scale_range

    @property
    def forms(self) -> Arithmetic:
        """The arithmetic whose programs are run; of its rounding nothing is left.

        ParityError for a maximum after the correction with eps elsewhere than outside: nobody has that.
        """
        if self.arithmetic is not None:
            return self.arithmetic
        usual = plain(self.convention.epsilon)
        if not self.hyper.amsgrad or self.convention.maximum is Maximum.BEFORE_CORRECTION:
            return usual
        if self.convention.epsilon is not Epsilon.OUTSIDE:
            raise ParityError("AMSGrad's maximum after the bias correction is known with eps outside only")
        return replace(usual, update=Update.OUTSIDE_QUOTIENTS, decay_weights=DecayWeights.IN_UPDATE)

    def programs(self, format: Format) -> tuple[Program, ...]:
        """What a step of a parameter runs on weights of a format."""
        eps = scalars_of(replace(self, hyper=self.hyper.over([1])), [self.hyper.lr_at(1)], [1], format)["eps"]
        return programs(self.forms, self.hyper, bool(eps.high[0] != 0))


class Truth(NamedTuple):
    """States after consecutive steps, each (steps, size); vmax under AMSGrad only, average where one is asked for."""

    w: DoubleDouble
    m: DoubleDouble
    v: DoubleDouble
    vmax: DoubleDouble | None = None
    average: DoubleDouble | None = None


def orbits(
    oracles: Sequence[Oracle], start: Start, layout: Layout, blocks: Iterable[Block], format: Format
) -> Iterator[dict[Oracle, Truth]]:
    """The states of every oracle, block by block.

    start: rows of a format, as the layout has them. format: in which the
    scalars of an oracle with an arithmetic are rounded. A parameter without gradient stays as it is; steps are counted
    as in `parity.adam.step`. Every operation has a relative error of some 2**-104; see `DoubleDouble` for its range.
    """
    runs = {one: _Run(one, start, layout, format) for one in dict.fromkeys(oracles)}
    kinds = list(dict.fromkeys(one.takes for one in runs))
    sources = itertools.tee(blocks, len(kinds))
    staged = [taken_exactly(source, layout, *kind) for source, kind in zip(sources, kinds, strict=True)]
    for found in zip(*staged, strict=True):
        given = {kind: _in_double(block) for kind, block in zip(kinds, found, strict=True)}
        pieces = [(*given[one.takes], *piece) for one, run in runs.items()
                  for piece in run.pieces(found[kinds.index(one.takes)])]  # fmt: skip
        # What is short is done before another thread has woken up.
        if found[0].gradients.size * len(runs) < _LONG:
            for piece in pieces:
                _advance(*piece)
        else:
            at_once([partial(_advance, *piece) for piece in pieces])
        yield {one: run.truth(found[0].steps) for one, run in runs.items()}


def _in_double(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Gradients, and what is to be added to them; empty where nothing is."""
    return block.gradients.astype(np.float64), np.zeros((0, 0)) if block.low is None else block.low


class _Run:
    """One oracle on its way: the states after the steps of the last block, and what they are made of.

    rows: (quantities, steps + 1, size), the state before the block first.
    """

    def __init__(self, oracle: Oracle, start: Start, layout: Layout, format: Format) -> None:
        names = ("w", "m", "v", "vmax") if oracle.hyper.amsgrad else ("w", "m", "v")
        self._convention, self._format, self._layout = oracle.convention, format, layout
        owns = [replace(oracle, hyper=oracle.hyper.of(one.name)) for one in layout.parameters]
        codes = {one: _Code(one.programs(format), names) for one in dict.fromkeys(owns)}
        self._owns = [(one, codes[one]) for one in owns]
        # Whose steps are alike go together.
        self._kinds = np.array([list(codes).index(one) for one in owns])
        self._stops = np.cumsum([parameter.size for parameter in layout.parameters])
        self._counts = start.counts
        average = oracle.hyper.stages.average
        self._averaged = (
            None if average is None else AveragedExactly(average, oracle.convention.average_start, start.rows.w)
        )
        self._rows = from_double(np.stack([getattr(start.rows, name)[None].astype(np.float64) for name in names]))

    def pieces(self, block: Block) -> Iterator[tuple[object, ...]]:
        """What `_advance` takes behind the gradients, for every piece of the row that takes its steps alike."""
        shape = (len(self._rows.high), len(block.steps) + 1, self._rows.high.shape[-1])
        before, self._rows = self._rows, DoubleDouble(np.empty(shape), np.empty(shape))
        self._rows.high[:, 0], self._rows.low[:, 0] = before.high[:, -1], before.low[:, -1]
        counts = counts_in(block, self._counts, self._convention)
        self._counts = counts[-1]
        alike = np.vstack([counts, block.present, self._kinds])
        idle = self._idle(block)
        firsts = [0, *(np.flatnonzero((alike[:, 1:] != alike[:, :-1]).any(axis=0)) + 1)]
        for first, last in zip(firsts, [*firsts[1:], counts.shape[1]], strict=True):
            oracle, code = self._owns[first]
            factors = code.factors(oracle, block.steps, counts[:, first].tolist(), self._format)
            start, stop = self._stops[first - 1] if first else 0, self._stops[last - 1]
            width = max(TILE, -(-(stop - start) // (TILE * (os.cpu_count() or 1))) * TILE)
            for place in range(start, stop, width):
                yield (*self._rows, *factors, block.present[:, first], idle, code.sources, code.ends,
                       code.operations, place, min(place + width, stop))  # fmt: skip

    def _idle(self, block: Block) -> np.ndarray:
        """Mask (steps, size) of the elements that stay as they are; (0, 0) where none does."""
        if not self._convention.lazy_rows:
            return np.zeros((0, 0), bool)
        return np.hstack([idle_elements(block.gradients[:, place], one.shape) for one, place in self._layout.slices()])

    def truth(self, steps: range) -> Truth:
        """The states after the steps that were made last, of which those numbers are."""
        high, low = self._rows
        average = None
        if self._averaged is not None:
            shown = [self._averaged.after(step, DoubleDouble(high[0, place], low[0, place]))
                     for place, step in enumerate(steps, start=1)]  # fmt: skip
            average = DoubleDouble(*(np.array(part) for part in zip(*shown, strict=True)))
        states = [DoubleDouble(high[place, 1:], low[place, 1:]) for place in range(len(high))]
        return Truth(*states)._replace(average=average)


class _Code:
    """What a parameter's steps run.

    sources: for each input of the code the quantity that it reads, or `_GRADIENT`, or `_FACTOR`; ends: rows in which
    the quantities stand after a step.
    """

    def __init__(self, programs: Sequence[Program], names: Sequence[str]) -> None:
        code = exact_code(tuple(programs), names[-1])
        places = {"g": _GRADIENT, **{name: place for place, name in enumerate(names)}}
        self.operations, self._inputs = code.operations, code.inputs
        self.sources = np.array([places.get(str(one), _FACTOR) for one in code.inputs])
        self.ends = np.array([code.ends[name] for name in names])

    def factors(
        self, oracle: Oracle, steps: range, counts: Sequence[int], format: Format
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scalars and numbers of every step, (steps, inputs) high and low; 0 for inputs that are something else."""
        lr = [oracle.hyper.lr_at(step) for step in steps]
        named = scalars_of(replace(oracle, hyper=oracle.hyper.over(steps)), lr, counts, format)
        high, low = np.zeros((2, len(lr), len(self._inputs)))
        for place, one in enumerate(self._inputs):
            if isinstance(one, float):
                high[:, place] = one
            elif self.sources[place] == _FACTOR:
                high[:, place], low[:, place] = named[one]
        return high, low


@machine_code
def _advance(
    gradients: np.ndarray,
    gradients_low: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    factors_high: np.ndarray,
    factors_low: np.ndarray,
    present: np.ndarray,
    idle: np.ndarray,
    sources: np.ndarray,
    ends: np.ndarray,
    operations: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Elements from start to stop through all steps of a block, tile by tile; arrays as in `_Run`."""
    rows = sources.size + operations.shape[0]
    work_high, work_low = np.empty((rows, TILE)), np.empty((rows, TILE))
    for left in range(start, stop, TILE):
        width = min(TILE, stop - left)
        for step in range(gradients.shape[0]):
            if not present[step]:
                for place in range(ends.size):
                    for i in range(left, left + width):
                        high[place, step + 1, i], low[place, step + 1, i] = high[place, step, i], low[place, step, i]
                continue
            for row in range(sources.size):
                source = sources[row]
                for i in range(width):
                    if source == _FACTOR:
                        work_high[row, i], work_low[row, i] = factors_high[step, row], factors_low[step, row]
                    elif source == _GRADIENT:
                        work_high[row, i] = gradients[step, left + i]
                        work_low[row, i] = gradients_low[step, left + i] if gradients_low.size else 0.0
                    else:
                        work_high[row, i], work_low[row, i] = high[source, step, left + i], low[source, step, left + i]
            execute(operations, work_high, work_low, width)
            for place in range(ends.size):
                row = ends[place]
                for i in range(width):
                    high[place, step + 1, left + i], low[place, step + 1, left + i] = (
                        work_high[row, i],
                        work_low[row, i],
                    )
            for i in range(left, left + width if idle.size else left):
                if idle[step, i]:
                    for place in range(ends.size):
                        high[place, step + 1, i], low[place, step + 1, i] = high[place, step, i], low[place, step, i]


def scalars_of(oracle: Oracle, lr: Sequence[float], counts: Sequence[int], format: Format) -> Values:
    """The scalars of steps, by name, each (steps,); `lr`, `counts`: step size and t of the bias correction."""
    hyper, convention = oracle.hyper, oracle.convention
    if oracle.arithmetic is not None:
        rounded = scalars(hyper, convention, oracle.arithmetic.factors, lr, counts, format)
        return {name: from_double(one) for name, one in rounded.items()}
    asked = {"beta1": hyper.beta1, "beta2": hyper.beta2, "eps": hyper.eps, "wd": hyper.weight_decay}
    values = {name: np.empty(len(counts)) for name in asked}
    for name, value in asked.items():
        values[name][:] = value
    values |= {"lr": np.array(lr, np.float64), "t": np.array(counts, np.float64)}
    text = EXACT
    if not convention.bias_correction:
        text = text.replace("power(beta1, t)", "0").replace("power(beta2, t)", "0")
    return run_exactly(exact_code((compiled(text, _SCALARS),)), values)
