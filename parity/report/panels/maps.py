"""Maps of a run: pairs by dtype, implementations by error, and where the place of epsilon matters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median_high

from parity.adam.convention import Epsilon
from parity.adam.epsilon_conversion import Conversion, conversion
from parity.adam.epsilon_gap import curve
from parity.case.expectation import Kind
from parity.engine.accounts import Twins, dtypes_of, twin_rows
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


EPS = 1e-8
BETA2 = 0.999
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
DECADES = tuple(range(-13, 1))


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference of one update, in units of lr, and its level of heat."""

    lr: float
    heat: int


@dataclass(frozen=True, slots=True)
class EpsilonMap:
    """The same eps in two places, for a gradient that is the same at every step.

    steps: columns; gradients: rows, the size of the gradient; gaps: by row and column.
    """

    actual: Epsilon
    expected: Epsilon
    steps: tuple[int, ...]
    gradients: tuple[float, ...]
    gaps: tuple[tuple[Gap, ...], ...]
    conversion: Conversion


def epsilon_maps() -> tuple[EpsilonMap, ...]:
    """Keras's place against torch's, then optax's eps_root against both."""
    pairs = ((Epsilon.HAT, Epsilon.OUTSIDE), (Epsilon.INSIDE, Epsilon.OUTSIDE))
    return tuple(epsilon_map(*pair) for pair in pairs)


def epsilon_map(actual: Epsilon, expected: Epsilon) -> EpsilonMap:
    """The map of two places of epsilon."""
    gradients = tuple(float(f"1e{decade}") for decade in DECADES)
    return EpsilonMap(
        actual=actual,
        expected=expected,
        steps=STEPS,
        gradients=gradients,
        gaps=tuple(tuple(_gap(actual, expected, gradient, step) for step in STEPS) for gradient in gradients),
        conversion=conversion(EPS, actual, expected, beta2=BETA2, steps=STEPS[-1]),
    )


def _gap(actual: Epsilon, expected: Epsilon, gradient: float, step: int) -> Gap:
    one, other = (curve(EPS, epsilon, BETA2, step) for epsilon in (actual, expected))
    lr = abs(one.at(gradient) - other.at(gradient))
    return Gap(lr, heat_of(lr))


@dataclass(frozen=True, slots=True)
class Error:
    """An implementation in one dtype: its error in ULP, and the length of the bar that shows it, 0 to 1."""

    twins: Twins
    bar: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors by implementation and dtype; the bars of a dtype are logarithmic, from its least error to its greatest."""

    dtypes: tuple[str, ...]
    rows: dict[str, dict[str, Error]]


def accuracy(run: Run) -> Accuracy:
    """Of every implementation that was held against a twin; no rows where nothing was explained."""
    found = twin_rows(run)
    dtypes = dtypes_of(run)
    scales = {}
    for dtype in dtypes:
        errors = [one.by_dtype[dtype].error_ulp for one in found if dtype in one.by_dtype]
        scales[dtype] = [error for error in errors if error > 0 and math.isfinite(error)]
    return Accuracy(
        dtypes,
        {
            one.implementation: {
                dtype: Error(twins, _bar(twins.error_ulp, scales[dtype])) for dtype, twins in one.by_dtype.items()
            }
            for one in found
        },
    )


def _bar(error: float, scale: list[float]) -> float:
    if not scale or error <= 0:
        return 0.0
    if not math.isfinite(error):
        return 1.0
    # A decade below the least error, so that it too has a bar.
    low, high = math.log10(min(scale)) - 1, math.log10(max(scale))
    return round((math.log10(error) - low) / (high - low), 3)
