"""What is left of a divergence table when all steps and parameters of a quantity are folded into one value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated

import numpy as np
from pydantic import PlainSerializer

from parity.comparison.divergence import Measured


def _json_number(value: float | int) -> float | int | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[float | int, PlainSerializer(_json_number, when_used="json")]
"""A figure that JSON keeps: integers exactly, and infinity, for which JSON has no number, as text."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The greatest value a metric takes, and the first step and parameter where it takes it."""

    value: Number
    step: int
    parameter: str


@dataclass(frozen=True, slots=True)
class First:
    """Where two sides part: the earliest step, its first parameter, and there the element that is farthest.

    dtype: in which they are compared there, empty where it is the case's.
    """

    step: int
    parameter: str
    index: int
    actual: str
    expected: str
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Distance:
    """One quantity of one pair over all steps and parameters.

    compared: elements times steps. differing, nonfinite, opposite_zeros: how many of them. worst_*:
    the table's metrics at their worst; max_steps only for w. first: None where nothing differs. dtypes: in which
    parameters were compared, where it is not the case's.
    """

    quantity: str
    compared: int
    differing: int
    nonfinite: int
    opposite_zeros: int
    first: First | None
    worst_differing: Worst
    worst_max_abs: Worst
    worst_max_rel: Worst
    worst_max_ulp: Worst
    worst_p99_ulp: Worst
    worst_rms_abs: Worst
    worst_max_steps: Worst | None
    dtypes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The quantity, and the dtypes in which it was compared where they are not the case's."""
        return f"{self.quantity} ({', '.join(self.dtypes)})" if self.dtypes else self.quantity

    def compared_in(self, dtypes: Mapping[str, str]) -> Distance:
        """The same where parameters were compared in other dtypes than the case's."""
        if not dtypes:
            return self
        first = self.first and replace(self.first, dtype=dtypes.get(self.first.parameter, ""))
        return replace(self, first=first, dtypes=tuple(sorted({*dtypes.values()})))

    def worst(self, metric: str) -> Worst | None:
        """The worst of a metric by its column's name."""
        found: Worst | None = getattr(self, f"worst_{metric}")
        return found


WORST_METRICS = tuple(
    field.name.removeprefix("worst_") for field in fields(Distance) if field.name.startswith("worst_")
)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far an optimizer that never steps is from one quantity of a last state, by metric.

    Its weights are the initial ones and its moments 0. A budget that admits it admits anything.
    """

    quantity: str
    differing: int
    max_abs: Number
    max_rel: Number
    max_ulp: int
    p99_ulp: int
    rms_abs: Number
    max_steps: Number | None


def reach_of(distance: Distance) -> Reach:
    """From the distance between such an optimizer and a last state."""
    worsts = {metric: distance.worst(metric) for metric in WORST_METRICS}
    values = {metric: None if worst is None else worst.value for metric, worst in worsts.items()}
    return Reach(distance.quantity, **values)  # type: ignore[arg-type]


def distance_of(measured: Measured) -> Distance:
    """Fold the steps of one quantity of one parameter."""
    metrics = measured.metrics

    def worst(values: np.ndarray) -> Worst:
        at = int(np.argmax(values))
        return Worst(values[at].item(), int(measured.steps[at]), measured.parameter)

    return Distance(
        quantity=measured.quantity,
        compared=int(metrics.elements.sum()),
        differing=int(metrics.differing.sum()),
        nonfinite=int(metrics.nonfinite.sum()),
        opposite_zeros=int(metrics.opposite_zeros.sum()),
        first=_first(measured),
        worst_differing=worst(metrics.differing),
        worst_max_abs=worst(metrics.max_abs),
        worst_max_rel=worst(metrics.max_rel),
        worst_max_ulp=worst(metrics.max_ulp),
        worst_p99_ulp=worst(metrics.p99_ulp),
        worst_rms_abs=worst(metrics.rms_abs),
        worst_max_steps=worst(measured.max_steps) if measured.quantity == "w" else None,
        dtypes=(measured.dtype,) if measured.dtype else (),
    )


def _first(measured: Measured) -> First | None:
    differing = np.flatnonzero(measured.metrics.differing)
    if not differing.size:
        return None
    at = int(differing[0])
    actual, expected = measured.actual_values[at], measured.expected_values[at]
    assert actual is not None
    assert expected is not None
    index = int(measured.metrics.worst_index[at])
    return First(int(measured.steps[at]), measured.parameter, index, actual, expected, measured.dtype)


def merge(left: Distance, right: Distance) -> Distance:
    """Fold two parts of one quantity; ties go to the earlier step, then to the left."""
    if left.quantity != right.quantity:
        raise ValueError(f"cannot fold {left.quantity} into {right.quantity}")
    firsts = [first for first in (left.first, right.first) if first is not None]
    worsts = {f"worst_{metric}": _worse(left.worst(metric), right.worst(metric)) for metric in WORST_METRICS}
    return Distance(
        quantity=left.quantity,
        compared=left.compared + right.compared,
        differing=left.differing + right.differing,
        nonfinite=left.nonfinite + right.nonfinite,
        opposite_zeros=left.opposite_zeros + right.opposite_zeros,
        first=min(firsts, key=lambda first: first.step, default=None),
        dtypes=tuple(sorted({*left.dtypes, *right.dtypes})),
        **worsts,  # type: ignore[arg-type]
    )


def _worse(left: Worst | None, right: Worst | None) -> Worst | None:
    if left is None or right is None:
        return left or right
    if left.value == right.value:
        return min(left, right, key=lambda worst: worst.step)
    return max(left, right, key=lambda worst: worst.value)


def fold(measured: Iterable[Measured], into: dict[str, Distance]) -> None:
    """Add measurements to the distances of a pair, by quantity."""
    for part in measured:
        distance = distance_of(part)
        before = into.get(part.quantity)
        into[part.quantity] = distance if before is None else merge(before, distance)
