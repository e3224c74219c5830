"""What stands around Adam: stage by stage, which pairs of a run differ, by how much and why, and what to set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from parity.case.case import RESTARTED
from parity.case.expectation import Kind
from parity.engine.accounts import LEAST_SHARE
from parity.engine.record import Run
from parity.engine.result import SAMPLED, CellResult, PairResult, Why
from parity.explain.causes import FORMULA, Family
from parity.explain.explanation import Answer
from parity.explain.headlines import DTYPES
from parity.implementations.registry import shipped_implementations
from parity.report.panels.advice import KERAS, Advice, advice_on
from parity.report.panels.maps import heat_of
from parity.report.panels.side_by_side import UNCOMPARED

FROM_SCRATCH = "numpy"

FULL = ("float32", "float64")
"""Dtypes in which a formula shows; in half precision rounding is of its size."""

STAGES = {
    "clip.value": "Clipping of every element",
    "clip.norm": "Clipping of each tensor by its norm",
    "clip.global_norm": "Clipping by the norm of all tensors",
    "accumulate": "Accumulation of gradients",
    "loss_scale": "Loss scale, and steps left out",
    "maximize": "Maximize",
    "rows": "Gradients as rows",
    "schedule.cosine": "Cosine schedule",
    "schedule.exponential": "Exponential schedule",
    "schedule.inverse_time": "Inverse time schedule",
    "schedule.one_cycle": "One-cycle schedule",
    "average": "Average of weights",
    "average.beside": "Average that stands beside the weights",
    "state.moments": "Moments wider than the weights",
    "state.master": "Master weights",
    "groups": "Hyperparameters of some tensors alone",
    "groups.weight_decay": "Decay of some tensors alone",
    "defaults": "Defaults",
}
"""What a cell may name, in the order in which it is told."""


class Ground(IntEnum):
    """Why a pair differs. EPSILON: only by where epsilon stands, which no stage has a part in."""

    EQUAL = 0
    ROUNDING = 1
    EPSILON = 2
    FORMULA = 3
    UNEXPLAINED = 4


@dataclass(frozen=True, slots=True)
class Extent:
    """A pair in one dtype over the cases of a stage: the worst ground, then the largest difference, and its case.

    lr: of w, or of its average where that is shown, in units of lr, of that which is asked for where a schedule has
    come to 0; inf where NaN or inf stands on
    one side. families: those that are more than arithmetic, the largest first.
    """

    dtype: str
    case: str
    lr: float
    ground: Ground
    families: tuple[str, ...]

    @property
    def heat(self) -> int:
        """The level of lr."""
        return heat_of(self.lr)


@dataclass(frozen=True, slots=True)
class Beside:
    """Two Adams at one stage, by dtype, float32 first; by_dtype: empty where none was compared."""

    actual: str
    expected: str
    by_dtype: tuple[Extent, ...]

    @property
    def main(self) -> Extent | None:
        """The dtype to speak of: that with the worst ground, of float32 and float64 where they were compared."""
        full = [one for one in self.by_dtype if one.dtype in FULL]
        return max(full or self.by_dtype, key=lambda one: one.ground, default=None)


@dataclass(frozen=True, slots=True)
class Absent:
    """Who has no such thing, in which dtypes of the stage's cells (empty for all), and why."""

    implementations: tuple[str, ...]
    dtypes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that cases of the run have."""

    name: str
    cases: tuple[str, ...]
    pairs: tuple[Beside, ...]
    absent: tuple[Absent, ...]
    advice: tuple[Advice, ...]

    @property
    def title(self) -> str:
        """In words."""
        return STAGES.get(self.name, self.name)

    @property
    def ground(self) -> Ground | None:
        """The worst of all pairs; None where none was compared."""
        return max((one.main.ground for one in self.pairs if one.main is not None), default=None)

    def pair(self, actual: str, expected: str) -> Beside | None:
        """What is known of a pair here."""
        return next((one for one in self.pairs if (one.actual, one.expected) == (actual, expected)), None)


@dataclass(frozen=True, slots=True)
class Around:
    """Every stage of a run; pairs: all that are looked at, two frameworks first. Empty where no case has any."""

    stages: tuple[Stage, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


NO_STAGES = Around()


def around(run: Run) -> Around:
    """From the verdicts, distances and accounts of a run: pairs of two that stand for their frameworks, and each of
    those beside the from-scratch Adam that has epsilon where it has."""
    named = {name for cell in run.cells for name in cell.stages}
    names = [*(name for name in STAGES if name in named), *sorted(named - {*STAGES})]
    stages = tuple(_stage(run, name) for name in names)
    pairs = dict.fromkeys((one.actual, one.expected) for stage in stages for one in stage.pairs)
    return Around(stages, tuple(sorted(pairs, key=lambda pair: any(map(_from_scratch, pair)))))


def _stage(run: Run, name: str) -> Stage:
    cells = [cell for cell in run.cells if name in cell.stages]
    asked = {(cell.case, cell.dtype) for cell in cells}
    stands = _standing(cells)
    verdicts = [
        one
        for one in run.verdicts
        if one.place[:2] in asked and stands >= {*one.place[2:]} and _asked_about(run, *one.place[2:])
    ]
    compared = {one.place for one in verdicts if one.verdict.kind not in UNCOMPARED}
    pairs = dict.fromkeys((one.actual, one.expected) for one in verdicts)
    sides = dict.fromkeys(side for pair in pairs for side in pair)

    def beside(actual: str, expected: str) -> Beside:
        mine = [cell for cell in cells if (cell.case, cell.dtype, actual, expected) in compared]
        return Beside(actual, expected, tuple(_extents(mine, actual, expected)))

    return Stage(
        name,
        tuple(dict.fromkeys(cell.case for cell in cells)),
        tuple(beside(*pair) for pair in pairs),
        tuple(_absent(cells, sides)),
        advice_on(name, frozenset(map(_framework, sides))),
    )


def _asked_about(run: Run, actual: str, expected: str) -> bool:
    scratch = _from_scratch(actual), _from_scratch(expected)
    if not any(scratch):
        return True
    places = run.conventions.get(actual), run.conventions.get(expected)
    return not all(scratch) and (None in places or places[0] == places[1])


def _standing(cells: Sequence[CellResult]) -> set[str]:
    """Who stands for a framework, or for itself: where none of those takes part that are to, whoever does."""
    took_part: dict[str, bool] = {}
    for cell in cells:
        for one in cell.outcomes:
            took_part[one.name] = took_part.get(one.name, False) or one.failure is None
    alone = {name for name in took_part if _stands_alone(name)}
    there = {_first(name) for name in alone if took_part[name]}
    return alone | {name for name, took in took_part.items() if took and _first(name) not in there}


def _stands_alone(name: str) -> bool:
    shipped = shipped_implementations().get(name)
    return not name.endswith(RESTARTED) if shipped is None else shipped.representative


def _first(name: str) -> str:
    return name.partition(".")[0]


def _from_scratch(name: str) -> bool:
    return _first(name) == FROM_SCRATCH


def _framework(name: str) -> str:
    """Whose advice is meant: Keras is one on all its backends."""
    first = _first(name)
    return KERAS if first in ("keras_torch", "keras_jax") else first


def _extents(cells: Sequence[CellResult], actual: str, expected: str) -> Iterator[Extent]:
    for dtype in DTYPES:
        found = [_extent(cell, actual, expected) for cell in cells if cell.dtype == dtype]
        if found:
            yield max(found, key=lambda one: (one.ground, one.lr))


def _extent(cell: CellResult, actual: str, expected: str) -> Extent:
    pair = next(one for one in cell.pairs if (one.actual, one.expected) == (actual, expected))
    why = next((one for one in cell.account.pairs if (one.actual, one.expected) == (actual, expected)), None)
    families = () if why is None else tuple(_more_than_arithmetic(why))
    return Extent(cell.dtype, cell.case, _largest(cell, pair), _ground(pair, why, families), families)


def _ground(pair: PairResult, why: Why | None, families: Sequence[str]) -> Ground:
    if not any(one.differing for one in pair.distances):
        return Ground.EQUAL
    if why is None or why.answer in (Answer.UNEXPLAINED, SAMPLED):
        return Ground.UNEXPLAINED
    if not families:
        return Ground.ROUNDING
    return Ground.EPSILON if {*families} == {Family.EPSILON_PLACEMENT} else Ground.FORMULA


def _more_than_arithmetic(why: Why) -> Iterator[str]:
    """Families with a part in the difference, and those that are only named, the largest first."""
    shares: dict[str, float] = defaultdict(float)
    for family, share in why.families:
        shares[family] += 1.0 if share is None else share
    for family, share in sorted(shares.items(), key=lambda one: -one[1]):
        if share >= LEAST_SHARE and family in FORMULA:
            yield family


def _largest(cell: CellResult, pair: PairResult) -> float:
    average = next((one for one in pair.distances if one.quantity == "average"), None)
    if pair.weights is None or pair.weights.worst_max_steps is None:
        return 0.0
    value = math.inf if average else float(pair.weights.worst_max_steps.value)
    if not math.isfinite(value):
        told = cell.outcome(pair.expected).hyper["lr"]
        lr = max(map(float.fromhex, [told] if isinstance(told, str) else told))
        value = float((average or pair.weights).worst_max_abs.value) / lr if lr else math.inf
    return value if math.isfinite(value) else math.inf


def _absent(cells: Sequence[CellResult], sides: Iterable[str]) -> Iterator[Absent]:
    """Of the sides of a stage's pairs, those that were skipped."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    dtypes = {cell.dtype for cell in cells}
    for name in sides:
        reasons: dict[str, set[str]] = {}
        for cell in cells:
            failure = next((one.failure for one in cell.outcomes if one.name == name), None)
            if failure is not None and failure.verdict is Kind.SKIPPED:
                reason = failure.reason.removeprefix(f"{name}: ").removeprefix(f"{name.partition('.')[0]}: ")
                reasons.setdefault(reason, set()).add(cell.dtype)
        for reason, here in reasons.items():
            where = () if here == dtypes else tuple(dtype for dtype in DTYPES if dtype in here)
            found.setdefault((reason, where), []).append(name)
    for (reason, where), names in found.items():
        yield Absent(tuple(names), where, reason)
