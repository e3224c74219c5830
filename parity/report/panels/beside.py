"""One pair in one cell as two runs have it, and which of the two has it farther apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.verdict import Verdict
from parity.engine.accounts import families_of
from parity.engine.record import Run
from parity.engine.result import Why

UNCOMPARED = (Kind.SKIPPED, Kind.CRASHED, Kind.NOT_COMPARABLE)

Place = tuple[str, str, str, str]
"""Case, dtype, actual, expected."""


class Course(StrEnum):
    """What became of the figures from the first run to the second."""

    FARTHER = "farther apart"
    NEARER = "nearer"
    OTHER = "other figures"
    SAME = "same figures"


@dataclass(frozen=True, slots=True)
class Standing:
    """A pair in one cell of one run. why: None where it was not explained."""

    verdict: Verdict
    distances: tuple[Distance, ...]
    why: Why | None

    @property
    def first(self) -> int | None:
        """The earliest step with a difference in any quantity."""
        return min((one.first.step for one in self.distances if one.first is not None), default=None)

    @property
    def ulp(self) -> int:
        """The largest difference of a weight in ULP."""
        return max((int(one.worst_max_ulp.value) for one in self.distances if one.quantity == "w"), default=0)

    @property
    def lr(self) -> float:
        """The largest difference of a weight in units of lr; inf where NaN or inf leaves no number."""
        found = (float(one.worst_max_steps.value) for one in self.distances if one.worst_max_steps is not None)
        return max((math.inf if math.isnan(value) else value for value in found), default=0.0)

    @property
    def compared(self) -> bool:
        """Whether its figures say how far the sides are apart."""
        return self.verdict.kind not in UNCOMPARED

    @property
    def families(self) -> tuple[str, ...]:
        """Of causes, those with a share first; each once."""
        return () if self.why is None else families_of([self.why])


@dataclass(frozen=True, slots=True)
class Beside:
    """A pair that two runs asked the same question.

    course: what became of its figures. moved: of its sides, those that end in other bits.
    """

    case: str
    dtype: str
    actual: str
    expected: str
    before: Standing
    after: Standing
    course: Course
    moved: tuple[str, ...]

    @property
    def judged_otherwise(self) -> bool:
        """Whether its verdict changed, or whether that is as expected."""
        one, other = self.before.verdict, self.after.verdict
        return (one.kind, one.as_expected) != (other.kind, other.as_expected)

    @property
    def other_causes(self) -> bool:
        """Whether both runs explain it, and not in the same way."""
        one, other = self.before.why, self.after.why
        if one is None or other is None:
            return False
        return (one.answer, set(self.before.families)) != (other.answer, set(self.after.families))

    @property
    def changed(self) -> bool:
        """Whether anything that is said of the pair changed."""
        return self.judged_otherwise or self.other_causes or self.course is not Course.SAME

    @property
    def weight(self) -> tuple[bool, bool, bool, float]:
        """What is worse is larger: no longer as expected, another verdict, farther, then the size of the change."""
        lost = self.before.verdict.as_expected and not self.after.verdict.as_expected
        step = self.after.lr - self.before.lr if self.after.lr != self.before.lr else 0.0
        return lost, self.judged_otherwise, self.course is Course.FARTHER, abs(step)


def course(before: Standing, after: Standing) -> Course:
    """What became of the figures of a pair."""
    one, other = _size(before), _size(after)
    if before.distances == after.distances:
        return Course.SAME
    if one == other or not (before.compared and after.compared):
        return Course.OTHER
    return Course.FARTHER if other > one else Course.NEARER


def _size(one: Standing) -> tuple[float, int, int, int]:
    """What is farther apart is larger: by the weights, then by any quantity."""
    most = max((int(distance.worst_max_ulp.value) for distance in one.distances), default=0)
    return one.lr, one.ulp, most, sum(distance.differing for distance in one.distances)


def standings(run: Run) -> Mapping[Place, Standing]:
    """Every pair of a run that has a verdict."""
    pairs = run.pairs()
    whys = {(cell.case, cell.dtype, one.actual, one.expected): one for cell in run.cells for one in cell.account.pairs}
    found = {}
    for one in run.verdicts:
        found[one.place] = Standing(one.verdict, pairs[one.place].distances, whys.get(one.place))
    return found
