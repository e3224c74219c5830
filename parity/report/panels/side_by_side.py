"""One pair in one cell as two runs have it, and which of the two has it farther apart."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.verdict import Verdict
from parity.core.environment import Difference, differences
from parity.core.errors import NothingCompared
from parity.engine.accounts import families_of
from parity.engine.record import Run
from parity.engine.result import CellResult, Outcome, Why
from parity.explain.headlines import DTYPES
from parity.numerics.formats import FORMATS

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


@dataclass(frozen=True, slots=True)
class Group:
    """The changed cases of one pair in one dtype, worst first. of: all its cases that both runs have."""

    actual: str
    expected: str
    dtype: str
    rows: tuple[Beside, ...]
    of: int

    def count(self, wanted: Course) -> int:
        """How many became so."""
        return sum(one.course is wanted for one in self.rows)

    @property
    def judged_otherwise(self) -> int:
        """How many have another verdict."""
        return sum(one.judged_otherwise for one in self.rows)


@dataclass(frozen=True, slots=True)
class Orbits:
    """The orbits of one implementation in one dtype that both runs have. moved: cases whose last states differ."""

    implementation: str
    dtype: str
    cases: int
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OtherInputs:
    """A cell that was not asked the same in both runs, so that nothing is said of its pairs."""

    case: str
    dtype: str
    what: str
    pairs: int


@dataclass(frozen=True, slots=True)
class Only:
    """What one run has and the other has not. pairs: cases by actual, expected and dtype."""

    cases: tuple[str, ...]
    implementations: tuple[str, ...]
    dtypes: tuple[str, ...]
    pairs: Mapping[tuple[str, str, str], tuple[str, ...]]

    @property
    def count(self) -> int:
        """Pairs, each case for itself."""
        return sum(map(len, self.pairs.values()))

    @property
    def anything(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.cases or self.implementations or self.dtypes or self.pairs)


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes of both runs that differ in the same, beyond what the environments themselves differ in."""

    names: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two runs. asked: pairs of either; held: those asked of both with the same inputs; groups: worst first."""

    before: Run
    after: Run
    asked: int
    held: int
    groups: tuple[Group, ...]
    orbits: tuple[Orbits, ...]
    other_inputs: tuple[OtherInputs, ...]
    only: tuple[Only, Only]
    environment: tuple[Difference, ...]
    processes: tuple[Processes, ...]

    @property
    def rows(self) -> tuple[Beside, ...]:
        """Every pair of which something changed, group by group."""
        return tuple(one for group in self.groups for one in group.rows)

    @property
    def judged_otherwise(self) -> int:
        """Pairs with another verdict."""
        return sum(one.judged_otherwise for one in self.rows)

    @property
    def other_causes(self) -> int:
        """Pairs whose figures and verdicts are the same, and whose causes are not."""
        return sum(one.course is Course.SAME and not one.judged_otherwise for one in self.rows)

    def count(self, wanted: Course) -> int:
        """Pairs whose figures became so."""
        found = sum(group.count(wanted) for group in self.groups)
        return found + self.held - len(self.rows) if wanted is Course.SAME else found

    @property
    def ended(self) -> tuple[int, int]:
        """Orbits that both have, and those of them that end in other bits."""
        return sum(one.cases for one in self.orbits), sum(len(one.moved) for one in self.orbits)

    @property
    def same(self) -> bool:
        """Whether both have the same pairs with the same inputs, verdicts, figures, causes and last bits."""
        return self.held == self.asked and not self.groups and not self.ended[1]


def side_by_side(before: Run, after: Run) -> SideBySide:
    """Hold every pair of one run against the same pair of another; NothingCompared where they share none."""
    left, right = standings(before), standings(after)
    ours, theirs = _cells(before), _cells(after)
    if not before.counts.elements and not after.counts.elements:
        raise NothingCompared("nothing to compare: in neither run a pair came to its end on both sides")
    shared = [place for place in left if place in right]
    if not shared:
        raise NothingCompared("nothing to compare: no pair, case and dtype stands in both runs")
    asked_otherwise: Counter[tuple[str, str, str]] = Counter()
    held: list[Beside] = []
    for place in shared:
        key = place[:2]
        what = _other_question(ours[key], theirs[key], place[2:])
        if what:
            asked_otherwise[(*key, what)] += 1
            continue
        moved = tuple(name for name in place[2:] if _moved(ours[key].outcomes[name], theirs[key].outcomes[name]))
        held.append(Beside(*place, left[place], right[place], course(left[place], right[place]), moved))
    other = tuple(OtherInputs(*key, count) for key, count in asked_otherwise.items())
    if not held:
        raise NothingCompared(f"nothing to compare: in every cell of both runs the inputs differ ({_first(other)})")
    environment = differences(_facts(before), _facts(after))
    return SideBySide(
        before=before,
        after=after,
        asked=len({*left, *right}),
        held=len(held),
        groups=_groups(held),
        orbits=_orbits(ours, theirs),
        other_inputs=other,
        only=(_only(before, after, left, right), _only(after, before, right, left)),
        environment=environment,
        processes=_processes(before, after, environment),
    )


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell with its outcomes by name."""

    result: CellResult
    outcomes: Mapping[str, Outcome]


def _cells(run: Run) -> Mapping[tuple[str, str], _Cell]:
    return {(one.case, one.dtype): _Cell(one, {each.name: each for each in one.outcomes}) for one in run.cells}


def _other_question(ours: _Cell, theirs: _Cell, names: Iterable[str]) -> str:
    """In what two cells of one name differ before anything is run; empty where in nothing."""
    if ours.result.steps != theirs.result.steps:
        return f"{ours.result.steps:,} steps in A, {theirs.result.steps:,} in B"
    if ours.result.input_digest != theirs.result.input_digest:
        return "other weights or gradients"
    for name in names:
        one, other = ours.outcomes[name].hyper, theirs.outcomes[name].hyper
        if one == other:
            continue
        changed = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
        return f"other {', '.join(changed)}"
    return ""


def _first(other: Sequence[OtherInputs]) -> str:
    return f"{other[0].case} {other[0].dtype}: {other[0].what}"


def _moved(ours: Outcome, theirs: Outcome) -> bool:
    """Whether an implementation ended otherwise: in other bits, or before its end on one side."""
    return ours.digests != theirs.digests or (ours.failure is None) != (theirs.failure is None)


def _groups(held: Iterable[Beside]) -> tuple[Group, ...]:
    found: dict[tuple[str, str, str], list[Beside]] = defaultdict(list)
    for one in held:
        found[one.actual, one.expected, one.dtype].append(one)
    groups = []
    for key, members in found.items():
        rows = sorted((one for one in members if one.changed), key=lambda one: one.weight, reverse=True)
        if rows:
            groups.append(Group(*key, tuple(rows), len(members)))
    return tuple(sorted(groups, key=lambda one: one.rows[0].weight, reverse=True))


def _orbits(ours: Mapping[tuple[str, str], _Cell], theirs: Mapping[tuple[str, str], _Cell]) -> tuple[Orbits, ...]:
    """By dtype, float32 first, those with most that moved first."""
    found: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
    for key in (one for one in ours if one in theirs):
        others = theirs[key].outcomes
        for name, one in ours[key].outcomes.items():
            if name in others and not _other_question(ours[key], theirs[key], [name]):
                found[name, key[1]].append((key[0], _moved(one, others[name])))
    told = [Orbits(*key, len(cases), tuple(case for case, moved in cases if moved)) for key, cases in found.items()]
    return tuple(sorted(told, key=lambda one: (DTYPES.index(one.dtype), -len(one.moved))))


def _only(run: Run, other: Run, places: Iterable[Place], others: Mapping[Place, object]) -> Only:
    pairs: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for case, dtype, actual, expected in (place for place in places if place not in others):
        pairs[actual, expected, dtype].append(case)
    names, there = ({one.name: None for cell in each.cells for one in cell.outcomes} for each in (run, other))
    dtypes, dtypes_there = ({cell.dtype for cell in each.cells} for each in (run, other))
    return Only(
        cases=tuple(name for name in run.cases if name not in other.cases),
        implementations=tuple(name for name in names if name not in there),
        dtypes=tuple(dtype for dtype in FORMATS if dtype in dtypes - dtypes_there),
        pairs={key: tuple(cases) for key, cases in pairs.items()},
    )


def _facts(run: Run) -> dict[str, object]:
    return {"parity": run.version, **run.environment}


def _processes(before: Run, after: Run, told: Sequence[Difference]) -> tuple[Processes, ...]:
    found: dict[tuple[Difference, ...], list[str]] = defaultdict(list)
    for name in sorted(before.workers.keys() & after.workers.keys()):
        left = [one for one in differences(before.workers[name], after.workers[name]) if one not in told]
        if left:
            found[tuple(left)].append(name)
    return tuple(Processes(tuple(names), changed) for changed, names in found.items())
