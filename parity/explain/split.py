"""The exact split of a divergence: what is formula, what is hyperparameters, what is rounding of either side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from parity.adam.convention import Convention
from parity.adam.oracle import Oracle, Truth, orbits
from parity.adam.twin import Twin
from parity.comparison.trace import Trace
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.core.state import QUANTITIES
from parity.explain.inputs import Inputs
from parity.numerics.double_double import DoubleDouble, add, from_double
from parity.numerics.formats import Format, to_bits, widest
from parity.numerics.jit import bits_of, compiled, from_bits


class Term(StrEnum):
    """Parts of ``actual - expected``, in the order in which they add up.

    With O the oracle in a side's convention and hyperparameters, and O' the same with the scalars that the side's
    arithmetic has in force: ROUNDING = side - O'; SCALARS = O' - O (hyperparameters and powers of beta as the
    side forms them); VALUES = O of actual - O of actual's convention with expected's hyperparameters (only
    where they are other numbers); FORMULA = the latter - O of expected. Those of expected count with a minus.
    """

    ROUNDING_ACTUAL = "rounding_actual"
    SCALARS_ACTUAL = "scalars_actual"
    VALUES = "values"
    FORMULA = "formula"
    SCALARS_EXPECTED = "scalars_expected"
    ROUNDING_EXPECTED = "rounding_expected"


@dataclass(frozen=True, slots=True)
class Side:
    """A trace and what it is taken for. hyper: in force. twin: None where no arithmetic is known; O' is then O."""

    trace: Trace
    hyper: Hyper
    convention: Convention
    twin: Twin | None

    @property
    def exact(self) -> Oracle:
        """O: the truth of its convention."""
        return Oracle(self.hyper, self.convention)

    @property
    def in_force(self) -> Oracle:
        """O': that truth with the scalars as the side forms them."""
        return self.exact if self.twin is None else Oracle(self.hyper, self.convention, self.twin.arithmetic)

    def with_values(self, hyper: Hyper) -> Oracle:
        """Its formula with hyperparameters of another."""
        return Oracle(hyper, self.convention)


@dataclass(frozen=True, slots=True)
class Series:
    """How large a difference is after each step that was asked for: arrays (steps,).

    max_abs, rms: over the elements, in the quantity's own unit; max_ulp, rms_ulp: in units of the format's
    spacing at the truth. nonfinite: elements left out because a side is inf or NaN.
    """

    max_abs: np.ndarray
    rms: np.ndarray
    max_ulp: np.ndarray
    rms_ulp: np.ndarray
    nonfinite: np.ndarray


Key = tuple[object, object, str, tuple[Format, ...]]
"""(what, minus what, quantity, formats of the parameters); what: an Oracle, or the name of a trace."""


@dataclass(frozen=True, slots=True)
class Question:
    """A pair whose difference is to be split: which quantities, after which steps."""

    actual: Side
    expected: Side
    quantities: tuple[str, ...]
    steps: tuple[int, ...]


class Updates(NamedTuple):
    """Steps times elements in which the exact update is not 0, and those of them in which the weight did not move."""

    exact: int
    lost: int


@dataclass(frozen=True, slots=True)
class PairSplit:
    """A pair's terms by quantity, their total, and each side's error against the truth of its own convention.

    steps: those that the series speak of. updates: of either side, of all steps to the last of these.
    """

    steps: tuple[int, ...]
    terms: Mapping[str, Mapping[Term, Series]]
    total: Mapping[str, Series]
    actual_error: Mapping[str, Series]
    expected_error: Mapping[str, Series]
    updates: tuple[Updates, Updates]


def quantities_of(actual: Side, expected: Side) -> tuple[str, ...]:
    """Quantities that both sides show and Adam has."""
    shown = {*actual.trace.quantities} & {*expected.trace.quantities}
    return tuple(one for one in quantities_under(actual.trace.hyper) if one in shown)


def quantities_under(hyper: Hyper) -> tuple[str, ...]:
    """Those that an Adam may have under such hyperparameters, in the order in which a step computes them."""
    left_out = {*(("vmax",) * (not hyper.amsgrad)), *(("average",) * (not hyper.stages.shows_average))}
    return tuple(one for one in QUANTITIES if one not in left_out)


def differences(actual: Side, expected: Side) -> dict[Term, tuple[object, object]]:
    """Which two orbits make a term. Of expected the sign is turned: it does not matter for a size."""
    same = actual.hyper == expected.hyper
    middle = actual.with_values(expected.hyper)
    found: dict[Term, tuple[object, object]] = {Term.ROUNDING_ACTUAL: (_name(actual), actual.in_force)}
    if actual.twin is not None:
        found[Term.SCALARS_ACTUAL] = (actual.in_force, actual.exact)
    if not same:
        found[Term.VALUES] = (actual.exact, middle)
    found[Term.FORMULA] = (middle, expected.exact)
    if expected.twin is not None:
        found[Term.SCALARS_EXPECTED] = (expected.in_force, expected.exact)
    found[Term.ROUNDING_EXPECTED] = (_name(expected), expected.in_force)
    return found


def split(questions: Sequence[Question], inputs: Inputs) -> list[PairSplit]:
    """Measures the terms of pairs of one cell in one pass over its steps; every orbit is made once, and every
    difference of two of them measured once."""
    for one in questions:
        inputs.check(one.actual.trace)
        inputs.check(one.expected.trace)
    # Around which truth a spacing is taken, and after which steps.
    asked: dict[Key, tuple[Oracle, set[int]]] = {}
    for one in questions:
        for key, truth in _keys(one):
            asked.setdefault(key, (truth, set()))[1].update(one.steps)
    sides = {_name(side): side for one in questions for side in (one.actual, one.expected)}
    arrays = {(name, quantity): side.trace.array(quantity)
              for name, side in sides.items() for quantity in side.trace.quantities}  # fmt: skip
    moved = {name: _Updates(side, inputs) for name, side in sides.items()}
    oracles = [orbit for key, (truth, _) in asked.items() for orbit in (*key[:2], truth) if isinstance(orbit, Oracle)]
    found: dict[Key, dict[int, np.ndarray]] = {key: {} for key in asked}
    last = max((step for one in questions for step in one.steps), default=0)
    blocks, fed = itertools.tee(inputs.blocks(last))
    limits = {formats: _limits(formats, inputs.layout) for *_, formats in asked}
    for block, truths in zip(blocks, orbits(oracles, inputs.start(), inputs.layout, fed, inputs.format), strict=True):
        for side_moved in moved.values():
            side_moved.add(block.steps, truths)
        rows: dict[tuple[object, str], DoubleDouble] = {}
        for key, (truth, steps) in asked.items():
            here = sorted(steps & set(block.steps))
            if not here:
                continue
            for orbit in (*key[:2], truth):
                if (orbit, key[2]) not in rows:
                    rows[orbit, key[2]] = _rows(orbit, key[2], truths, arrays, block.steps)
            x, y, at = (rows[orbit, key[2]] for orbit in (*key[:2], truth))
            places = np.array(here) - block.steps[0]
            sizes_found = sizes_of_differences(*x, *y, at.high, places, *limits[key[3]])
            found[key] |= dict(zip(here, sizes_found.T, strict=True))
    updates = {name: one.updates for name, one in moved.items()}
    return [_of_pair(one, found, updates) for one in questions]


def _keys(one: Question) -> Iterator[tuple[Key, Oracle]]:
    """All differences that make the answer, each with the truth around which units in the last place are taken."""
    sides = (one.actual, one.expected)
    for quantity in one.quantities:
        formats = _formats(one, quantity)
        for left, right in differences(*sides).values():
            yield (left, right, quantity, formats), right  # type: ignore[misc]
        yield (_name(one.actual), _name(one.expected), quantity, formats), one.expected.exact
        for side in sides:
            yield (_name(side), side.exact, quantity, formats), side.exact


def _formats(one: Question, quantity: str) -> tuple[Format, ...]:
    """In which a pair is compared, parameter by parameter."""
    sides = (one.actual.trace.formats[quantity], one.expected.trace.formats[quantity])
    return tuple(map(widest, zip(*sides, strict=True)))


def _limits(formats: tuple[Format, ...], layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """`precision` and `least` of `spacing` for every element."""
    sizes = [parameter.size for parameter in layout.parameters]
    found = [(one.precision, 3 - 2 ** (one.exponent_bits - 1)) for one in formats]
    return tuple(np.repeat(np.array(column, np.int64), sizes) for column in zip(*found, strict=True))  # type: ignore[return-value]


class _Updates:
    """The exact updates of a side, block by block, and those that its weights show nothing of."""

    def __init__(self, side: Side, inputs: Inputs) -> None:
        self.updates = Updates(0, 0)
        self._w, self._oracle = to_bits(side.trace.array("w")), side.exact
        self._before = from_double(inputs.start().rows.w.astype(np.float64))

    def add(self, steps: range, truths: Mapping[Oracle, Truth]) -> None:
        w = truths[self._oracle].w
        recorded = np.array(self._w[steps[0] - 1 : steps[-1] + 1])
        found = count_updates(recorded, *map(np.ascontiguousarray, (*w, *self._before)))
        self.updates = Updates(*(one + other for one, other in zip(self.updates, found, strict=True)))
        self._before = DoubleDouble(w.high[-1].copy(), w.low[-1].copy())


@compiled
def count_updates(
    bits: np.ndarray, high: np.ndarray, low: np.ndarray, high_before: np.ndarray, low_before: np.ndarray
) -> tuple[int, int]:
    """Elements in which the exact weights (steps, size) move, and in which the bits (steps + 1, size) then do not."""
    exact, lost = 0, 0
    for step in range(high.shape[0]):
        for i in range(high.shape[1]):
            one, other = high_before[i], low_before[i]
            if step > 0:
                one, other = high[step - 1, i], low[step - 1, i]
            if abs(high[step, i]) < np.inf and abs(one) < np.inf and (high[step, i] != one or low[step, i] != other):
                exact += 1
                lost += bits[step + 1, i] == bits[step, i]
    return exact, lost


def _of_pair(one: Question, found: Mapping[Key, Mapping[int, np.ndarray]], updates: Mapping[str, Updates]) -> PairSplit:
    actual, expected = one.actual, one.expected

    def series(pair: tuple[object, object], quantity: str) -> Series:
        by_step = found[(*pair, quantity, _formats(one, quantity))]
        return Series(*np.stack([by_step[step] for step in one.steps], axis=1))

    def column(pair: tuple[object, object]) -> dict[str, Series]:
        return {quantity: series(pair, quantity) for quantity in one.quantities}

    terms = differences(actual, expected)
    return PairSplit(
        one.steps,
        {quantity: {term: series(pair, quantity) for term, pair in terms.items()} for quantity in one.quantities},
        column((_name(actual), _name(expected))),
        column((_name(actual), actual.exact)),
        column((_name(expected), expected.exact)),
        (updates[_name(actual)], updates[_name(expected)]),
    )


def _rows(
    one: object,
    quantity: str,
    truths: Mapping[Oracle, Truth],
    arrays: Mapping[tuple[str, str], np.ndarray],
    steps: range,
) -> DoubleDouble:
    """An orbit's rows of a block."""
    if isinstance(one, Oracle):
        rows: DoubleDouble = getattr(truths[one], quantity)
        return rows
    return from_double(arrays[str(one), quantity][steps[0] : steps[-1] + 1].astype(np.float64))


@compiled
def spacing(value: float, precision: int, least: int) -> float:
    """Distance of neighbours of a format around a number; the smallest one below its normal range.

    precision: bits of the format, the leading one included; least: exponent of its smallest normal number, one more
    than that of the power of two (as frexp has it).
    """
    field = int(np.int64(bits_of(value)) >> 52) & 0x7FF
    # What is said at inf and NaN does not matter: they are left out.
    exponent = max(least, field - 1022 if field < 0x7FF else 0)
    # The field of a double that is 2**(exponent - precision), or the place of its only bit where that is subnormal.
    power = exponent - precision + 1023
    bits = power << 52 if power > 0 else 1 << max(0, power + 51)
    distance: float = from_bits(np.uint64(bits))
    return distance


@compiled
def _short_sum(values: np.ndarray, start: int, size: int) -> float:
    """Of so many elements from `start` on."""
    total = 0.0
    whole = start
    if size >= 8:
        whole = start + size - size % 8
        a, b, c, d = values[start], values[start + 1], values[start + 2], values[start + 3]
        e, f, g, h = values[start + 4], values[start + 5], values[start + 6], values[start + 7]
        for i in range(start + 8, whole, 8):
            a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
            e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, start + size):
        total += values[i]
    return total


@compiled
def pairwise_sum(values: np.ndarray) -> float:
    """The sum of numbers (size,), in the order of `numpy.sum`: halves of halves, down to eight sums side by side."""
    # A tree walked with a stack: compiled code that calls itself cannot be kept on disk.
    starts, sizes, turns, lefts = np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64)
    sizes[0] = values.size
    total, depth = 0.0, 0
    while depth >= 0:
        start, size, turn = starts[depth], sizes[depth], turns[depth]
        half = size // 2 - size // 2 % 8
        if size <= 128:
            total = _short_sum(values, start, size)
        elif turn == 1:
            lefts[depth] = total
        elif turn == 2:
            total = lefts[depth] + total
        if size <= 128 or turn == 2:
            depth -= 1
        else:
            turns[depth] += 1
            depth += 1
            starts[depth], sizes[depth], turns[depth] = start + turn * half, half if turn == 0 else size - half, 0
    return total


@compiled
def _largest_and_rms(sizes: np.ndarray, kept: int) -> tuple[float, float]:
    """Of numbers of at least 0, which are overwritten."""
    top = 0.0
    for i in range(sizes.size):
        top = max(top, sizes[i])
    # Squares of small differences would underflow.
    scale = top if top > 0 else 1.0
    for i in range(sizes.size):
        part = sizes[i] / scale
        sizes[i] = part * part
    return top, scale * math.sqrt(pairwise_sum(sizes) / kept)


@compiled
def sizes_of_differences(
    x_high: np.ndarray,
    x_low: np.ndarray,
    y_high: np.ndarray,
    y_low: np.ndarray,
    truth: np.ndarray,
    places: np.ndarray,
    precision: np.ndarray,
    least: np.ndarray,
) -> np.ndarray:
    """What `Series` says of ``x - y`` in rows `places`, (5, places); arrays (steps, size), truth: of the spacing.

    precision, least: as `spacing` takes them, (size,).
    """
    size = x_high.shape[1]
    found = np.zeros((5, places.size))
    differences, in_ulp = np.empty(size), np.empty(size)
    for place in range(places.size):
        step = places[place]
        for i in range(size):
            high, _ = add(x_high[step, i], x_low[step, i], -y_high[step, i], -y_low[step, i])
            differences[i] = abs(high)
        lost = 0
        for i in range(size):
            if not differences[i] < np.inf:
                differences[i] = 0.0
                lost += 1
            in_ulp[i] = differences[i] / spacing(truth[step, i], precision[i], least[i])
        kept = max(size - lost, 1)
        found[0, place], found[1, place] = _largest_and_rms(differences, kept)
        found[2, place], found[3, place] = _largest_and_rms(in_ulp, kept)
        found[4, place] = lost
    return found


def _name(side: Side) -> str:
    return side.trace.implementation
