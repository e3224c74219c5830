"""The matrix as a heat map: every pair by dtype, over all cases and in each of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median_high

from parity.case.expectation import Kind
from parity.engine.matrix import Matrix, build_matrix
from parity.engine.record import Run
from parity.engine.result import PairResult

LEVELS = (0.0, 1e-6, 1e-3, 1e-1, 1.0)
"""Upper limits of the levels of heat, in units of lr; one more level lies above."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A pair in one cell. first: step; ulp, lr: of the weights at their worst; heat: the level of lr."""

    case: str
    dtype: str
    actual: str
    expected: str
    kind: Kind
    as_expected: bool
    first: int | None
    ulp: int
    lr: float
    heat: int

    @property
    def compared(self) -> bool:
        """Whether there are figures."""
        return self.kind not in (Kind.SKIPPED, Kind.CRASHED)


@dataclass(frozen=True, slots=True)
class Field:
    """A pair in one dtype over its cases: the median of their `lr`, the higher of two, and its level; None for none."""

    median: float | None
    heat: int


@dataclass(frozen=True, slots=True)
class HeatMap:
    """matrix: the worst of all cases; fields: what is typical, by pair and dtype; spots: every verdict of the run."""

    matrix: Matrix
    fields: dict[tuple[str, str, str], Field]
    spots: tuple[Spot, ...]


def heat_map(run: Run) -> HeatMap:
    """Fold a run."""
    spots = tuple(_spots(run))
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for spot in spots:
        found[spot.actual, spot.expected, spot.dtype] += [spot.lr] if spot.compared else []
    return HeatMap(build_matrix(run), {key: _field(sizes) for key, sizes in found.items()}, spots)


def _field(sizes: list[float]) -> Field:
    if not sizes:
        return Field(None, 0)
    median = median_high(math.inf if math.isnan(size) else size for size in sizes)
    return Field(median, heat_of(median))


def heat_of(lr: float) -> int:
    """The level of a difference in units of lr: 0 for none, then one level for each limit; NaN is the hottest."""
    if math.isnan(lr):
        return len(LEVELS)
    return sum(lr > limit for limit in LEVELS)


def _spots(run: Run) -> Iterator[Spot]:
    pairs = run.pairs()
    for one in run.verdicts:
        first, ulp, lr = _worst(pairs[one.place])
        yield Spot(
            one.case, one.dtype, one.actual, one.expected, one.verdict.kind, one.verdict.as_expected,
            first, ulp, lr, heat_of(lr),
        )  # fmt: skip


def _worst(pair: PairResult) -> tuple[int | None, int, float]:
    first, weights = pair.first_step, pair.weights
    if weights is None or weights.worst_max_steps is None:
        return first, 0, 0.0
    return first, int(weights.worst_max_ulp.value), float(weights.worst_max_steps.value)
