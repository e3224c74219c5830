"""The oracle: the orbit of an Adam in (nearly) exact arithmetic, in any convention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from parity.adam.arithmetic import Arithmetic, plain
from parity.adam.convention import Convention, Epsilon, Maximum, StepCount
from parity.adam.exact import Values, run_exactly
from parity.adam.forms import DecayWeights, Update
from parity.adam.kernels import Program, compiled
from parity.adam.scalars import scalars
from parity.adam.stages import programs
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.numerics.double_double import DoubleDouble, from_double
from parity.numerics.formats import Format

EXACT = """
    b1 = beta1; b2 = beta2; c1 = 1 - beta1; c2 = 1 - beta2
    k1 = 1 - power(beta1, t); k2 = 1 - power(beta2, t)
    i1 = 1 / k1; i2 = 1 / k2; r2 = sqrt(k2); step = -(lr / k1); alpha = lr * r2 / k1
    back = -lr; decay = lr * wd; shrink = 1 - lr * wd
"""
"""The scalars of a step in real numbers; names as in `parity.adam.forms`."""

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
        """What a step runs on weights of a format."""
        eps = scalars_of(self, [self.hyper.lr_at(1)], [1], format)["eps"]
        return programs(self.forms, self.hyper, bool(eps.high[0] != 0))


class Block(NamedTuple):
    """Gradients of consecutive steps: their 1-based numbers, rows (steps, size), and who has one.

    present: (steps, parameters), False where a parameter's gradient is None.
    """

    steps: range
    gradients: np.ndarray
    present: np.ndarray


class Truth(NamedTuple):
    """States after consecutive steps, each (steps, size); vmax under AMSGrad only."""

    w: DoubleDouble
    m: DoubleDouble
    v: DoubleDouble
    vmax: DoubleDouble | None = None


def orbits(
    oracles: Sequence[Oracle], weights: np.ndarray, sizes: Sequence[int], blocks: Iterable[Block], format: Format
) -> Iterator[dict[Oracle, Truth]]:
    """The states of every oracle, block by block.

    weights: (size,) of a format, and of each parameter `sizes` elements, one after another. format: in which the
    scalars of an oracle with an arithmetic are rounded. A parameter without gradient stays as it is; steps are counted
    as in `parity.adam.step`. Every operation has a relative error of some 2**-104; see `DoubleDouble` for its range.
    """
    grouped: dict[tuple[Program, ...], list[Oracle]] = defaultdict(list)
    for oracle in dict.fromkeys(oracles):
        grouped[oracle.programs(format)].append(oracle)
    groups = [_Group(texts, members, weights, sizes, format) for texts, members in grouped.items()]
    for block in blocks:
        found: dict[Oracle, Truth] = {}
        for group in groups:
            found |= group.advance(block)
        yield found


class _Group:
    """Oracles that run the same programs, side by side: state arrays are (oracles, size)."""

    def __init__(
        self,
        texts: tuple[Program, ...],
        members: list[Oracle],
        weights: np.ndarray,
        sizes: Sequence[int],
        format: Format,
    ) -> None:
        self._programs, self._members, self._sizes, self._format = texts, members, np.array(sizes), format
        shape = (len(members), weights.size)
        amsgrad = members[0].hyper.amsgrad
        self._quantities = ("w", "m", "v", "vmax") if amsgrad else ("w", "m", "v")
        self._aliases = {"x": "vmax" if amsgrad else "v"}
        self._state: Values = {name: from_double(np.zeros(shape)) for name in self._quantities}
        self._state["w"] = from_double(np.broadcast_to(weights.astype(np.float64), shape).copy())
        self._counts = {one: np.zeros(len(sizes), np.int64) for one in members}

    def advance(self, block: Block) -> dict[Oracle, Truth]:
        gradients = block.gradients.astype(np.float64)
        factors = self._factors(block)
        shape = (len(self._members), *gradients.shape)
        rows = {name: DoubleDouble(np.empty(shape), np.empty(shape)) for name in self._quantities}
        for place in range(len(block.steps)):
            self._step(from_double(gradients[place]), {name: _at(one, place) for name, one in factors.items()})
            if not block.present[place].all():
                self._restore(rows, place, np.repeat(block.present[place], self._sizes))
            for name in self._quantities:
                rows[name].high[:, place], rows[name].low[:, place] = self._state[name].high, self._state[name].low
            self._before = dict(self._state)
        return {one: Truth(**{name: _at(row, index, 0) for name, row in rows.items()})
                for index, one in enumerate(self._members)}  # fmt: skip

    def _step(self, gradient: DoubleDouble, factors: Values) -> None:
        self._before = dict(self._state)
        values = {**factors, **self._state, "g": gradient}
        for program in self._programs:
            run_exactly(program, values, self._aliases)
        self._state = {name: values[name] for name in self._quantities}

    def _restore(self, rows: Values, place: int, present: np.ndarray) -> None:
        for name, old in self._before.items():
            new = self._state[name]
            self._state[name] = DoubleDouble(np.where(present, new.high, old.high), np.where(present, new.low, old.low))

    def _factors(self, block: Block) -> Values:
        """By name, (oracles, steps, 1), or (oracles, steps, size) where parameters count apart."""
        found = [self._factors_of(one, block) for one in self._members]
        names = set.intersection(*(set(one) for one in found))
        width = max(value.high.shape[1] for one in found for value in one.values())

        def stacked(name: str) -> DoubleDouble:
            shape = (len(block.steps), width)
            parts = [(np.broadcast_to(one[name].high, shape), np.broadcast_to(one[name].low, shape)) for one in found]
            return DoubleDouble(np.stack([high for high, _ in parts]), np.stack([low for _, low in parts]))

        return {name: stacked(name) for name in names}

    def _factors_of(self, oracle: Oracle, block: Block) -> Values:
        every = oracle.convention.step_count is StepCount.GLOBAL
        counts = self._counts[oracle] + np.cumsum(block.present | every, axis=0, dtype=np.int64)
        self._counts[oracle] = counts[-1]
        lr = [oracle.hyper.lr_at(step) for step in block.steps]
        columns, which = np.unique(counts, axis=1, return_inverse=True)
        made = [scalars_of(oracle, lr, column.tolist(), self._format) for column in columns.T]
        if len(made) == 1:
            return {name: DoubleDouble(one.high[:, None], one.low[:, None]) for name, one in made[0].items()}
        places = np.repeat(which.reshape(-1), self._sizes)
        return {
            name: DoubleDouble(
                np.stack([one[name].high for one in made], axis=1)[:, places],
                np.stack([one[name].low for one in made], axis=1)[:, places],
            )
            for name in made[0]
        }


def scalars_of(oracle: Oracle, lr: Sequence[float], counts: Sequence[int], format: Format) -> Values:
    """The scalars of steps, by name, each (steps,); `lr`, `counts`: step size and t of the bias correction."""
    hyper, convention = oracle.hyper, oracle.convention
    if oracle.arithmetic is not None:
        rounded = scalars(hyper, convention, oracle.arithmetic.factors, lr, counts, format)
        return {name: from_double(one) for name, one in rounded.items()}
    size = len(counts)
    asked = {"beta1": hyper.beta1, "beta2": hyper.beta2, "eps": hyper.eps, "wd": hyper.weight_decay}
    values = {name: from_double(np.full(size, float(value))) for name, value in asked.items()}
    values |= {"lr": from_double(np.array(lr, np.float64)), "t": from_double(np.array(counts, np.float64))}
    text = EXACT
    if not convention.bias_correction:
        text = text.replace("power(beta1, t)", "0").replace("power(beta2, t)", "0")
    run_exactly(compiled(text, _SCALARS), values)
    named = {name: one for name, one in values.items() if not name.startswith("%")}
    return {
        name: DoubleDouble(np.broadcast_to(one.high, size), np.broadcast_to(one.low, size))
        for name, one in named.items()
    }


def _at(x: DoubleDouble, place: int, axis: int = 1) -> DoubleDouble:
    index = (place,) if axis == 0 else (slice(None), place)
    return DoubleDouble(x.high[index], x.low[index])
