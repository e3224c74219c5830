"""Two runs side by side: what both asked, what became of it, and what only one has; a view, not a verdict."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.core.environment import Difference, differences
from parity.core.errors import NothingCompared
from parity.engine.record import Run
from parity.engine.result import CellResult, Outcome
from parity.explain.headlines import DTYPES
from parity.numerics.formats import FORMATS
from parity.report.panels.beside import Beside, Course, Place, course, standings


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
