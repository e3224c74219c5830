"""Two recordings, tensor by tensor and step by step: the rows of a divergence table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from parity.case.pairing import CommonSteps, Pair, Pairing, names_of
from parity.case.recording import Recording
from parity.case.recording_header import GRADIENTS, STATES
from parity.comparison.distance import Distance, fold
from parity.comparison.divergence import Label, Measured, label_metrics
from parity.comparison.metrics import Metrics, measure

CLOSED = "closed"
"""Mode of two live trainings, each on its own way."""

LOCK = "lock"
"""Mode in which every step of one side begins with the recorded state of the other."""

ELEMENTS = 1 << 18
"""Of a side that are measured at a time."""


@dataclass(frozen=True, slots=True)
class NotFinite:
    """The first step at which a number of a tensor is NaN or inf. side: actual, expected, or both."""

    quantity: str
    parameter: str
    step: int
    side: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """How far the two sides of a tensor come apart, by quantity.

    lr: the largest step size of `expected` for it, NaN where that was not told. not_finite: where either side ceases to
    be a number.
    """

    actual: str
    expected: str
    lr: float
    by: str
    turned: bool
    distances: tuple[Distance, ...]
    not_finite: NotFinite | None


class _Side(NamedTuple):
    """A tensor of a recording; begins, stride: where common steps stand among the recorded ones."""

    recording: Recording
    name: str
    begins: int
    stride: int

    def row(self, quantity: str, place: int) -> np.ndarray:
        """After a common step; of the gradients those that it was given."""
        if quantity == GRADIENTS:
            return self.recording.gradients(self.name, self.step(place))
        return self.recording.values(quantity, self.name, self.step(place))

    def has(self, quantity: str, place: int) -> bool:
        """Whether there is such a row: a parameter may have no gradient."""
        return quantity != GRADIENTS or self.name not in self.recording.step(self.step(place)).none

    def step(self, place: int) -> int:
        """A common step among the recorded ones."""
        return self.begins + (place - 1) * self.stride


def measure_recordings(
    actual: Recording,
    expected: Recording,
    pairing: Pairing,
    steps: CommonSteps,
    arrived: Callable[[Label, Measured], None],
) -> Iterator[Tensor]:
    """Measure every quantity that both recorded of every pair, after every common step.

    Steps bear their numbers in the training; in units of lr of `expected`; in the dtype of `actual`, to which the other
    side is rounded where it has another. Steps in which either has no gradient have no row of gradients. arrived: is
    handed the rows as they are made.
    """
    names = names_of(actual, expected)
    shared = [one for one in STATES if one in actual.quantities and one in expected.quantities]
    for pair in pairing.pairs:
        sides = (
            _Side(actual, pair.actual, steps.begins[0], steps.strides[0]),
            _Side(expected, pair.expected, steps.begins[1], steps.strides[1]),
        )
        distances: dict[str, Distance] = {}
        broken: NotFinite | None = None
        # A gradient that is no number makes all that follows from it none.
        for quantity in (GRADIENTS, *shared):
            label = Label("", actual.parameter(pair.actual).dtypes[quantity], *names, CLOSED)
            for measured in _measured(sides, pair, quantity, steps):
                fold([measured], distances)
                arrived(label, measured)
                found = _not_finite(sides, measured, steps)
                if found is not None and (broken is None or found.step < broken.step):
                    broken = found
        lr = max(lr_of(expected, pair.expected, sides[1].step(place)) for place in range(1, steps.count + 1))
        yield Tensor(pair.actual, pair.expected, lr, pair.by, pair.turned, tuple(distances.values()), broken)


def lr_of(recording: Recording, name: str, step: int) -> float:
    """The step size with which a parameter was updated at a recorded 1-based step; NaN where it was not told."""
    groups = recording.step(step).groups
    group: Mapping[str, Any] = groups[min(recording.parameter(name).group, len(groups) - 1)] if groups else {}
    return float(group.get("lr", np.nan))


def measured_row(quantity: str, parameter: str, one: np.ndarray, two: np.ndarray, number: int) -> Measured:
    """One step of a tensor, (kept,) each, in the dtype of `actual`; without a unit of lr."""
    rows = one[None], np.ascontiguousarray(two[None].astype(one.dtype))
    return label_metrics(quantity, parameter, measure(*rows), *rows, range(number, number + 1), lambda step: np.nan)


def joined(parts: Sequence[Measured]) -> Measured:
    """Steps of one quantity of one parameter as one."""
    first = parts[0]
    metrics = [np.concatenate([getattr(one.metrics, column.name) for one in parts]) for column in fields(Metrics)]
    return Measured(
        first.quantity,
        first.parameter,
        np.concatenate([one.steps for one in parts]),
        Metrics(*metrics),
        np.concatenate([one.max_steps for one in parts]),
        [value for one in parts for value in one.actual_values],
        [value for one in parts for value in one.expected_values],
    )


def _measured(sides: tuple[_Side, _Side], pair: Pair, quantity: str, steps: CommonSteps) -> Iterator[Measured]:
    expected = sides[1]
    many = max(1, ELEMENTS // max(1, pair.place.size))
    for run in _runs(sides, quantity, steps.count, many):
        one, two = (np.stack([side.row(quantity, place) for place in run]) for side in sides)
        two = np.ascontiguousarray(two[:, pair.place].astype(one.dtype))
        numbers = range(steps.number(run.start), steps.number(run.stop), steps.every)
        rates = (lr_of(expected.recording, expected.name, expected.step(place)) for place in run)
        lr_at = dict(zip(numbers, rates, strict=True)).__getitem__
        measured = label_metrics(quantity, pair.actual, measure(one, two), one, two, numbers, lr_at)
        yield replace(measured, steps=np.array(numbers, np.int64))


def _runs(sides: tuple[_Side, _Side], quantity: str, last: int, many: int) -> Iterator[range]:
    """Stretches of at most so many consecutive steps in which both have what is measured."""
    start = 1
    for step in range(1, last + 2):
        there = step <= last and all(side.has(quantity, step) for side in sides)
        if not there or step - start == many:
            if start < step:
                yield range(start, step)
            start = step if there else step + 1


def _not_finite(sides: tuple[_Side, _Side], measured: Measured, steps: CommonSteps) -> NotFinite | None:
    places = np.flatnonzero(measured.metrics.nonfinite)
    if not places.size:
        return None
    number = int(measured.steps[places[0]])
    rows = (side.row(measured.quantity, (number - steps.first) // steps.every + 1) for side in sides)
    broken = [not np.isfinite(row.astype(np.float64)).all() for row in rows]
    side = "both" if all(broken) else "actual" if broken[0] else "expected"
    return NotFinite(measured.quantity, measured.parameter, number, side)
