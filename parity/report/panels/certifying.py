"""From the record of a run to the certificate of a pair: which ground each clause has, or what stands against it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from pydantic import TypeAdapter

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.trace import hyper_from_json
from parity.core.digest import digest_of
from parity.core.errors import NothingCompared, ParityError, UsageError, nearest
from parity.core.hyper import Hyper
from parity.core.selection import matcher
from parity.core.state import QUANTITIES
from parity.engine.power import Power
from parity.engine.record import PairVerdict, Run
from parity.engine.result import CellResult, Outcome, PairResult, Why
from parity.explain.causes import FORMULA
from parity.explain.explanation import Answer
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS, format_named
from parity.numerics.ulp import NO_DISTANCE
from parity.report.panels.certificate import (
    Apart,
    Bound,
    Certificate,
    Clause,
    Ground,
    Largest,
    Obstacle,
    Reason,
    Setting,
    Side,
    narrowing,
)

Against = tuple[Obstacle, str]
"""What stands against equivalence, and its detail."""

UNANSWERED: Mapping[Kind, Obstacle] = {
    Kind.SKIPPED: Obstacle.SKIPPED,
    Kind.CRASHED: Obstacle.CRASHED,
    Kind.NOT_COMPARABLE: Obstacle.NOT_COMPARABLE,
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a run keeps of a pair in one cell; sides: in the order in which they were asked for."""

    cell: CellResult
    judged: PairVerdict
    pair: PairResult
    sides: tuple[Outcome, Outcome]
    why: Why | None
    power: Power | None

    @property
    def differing(self) -> bool:
        return any(one.differing for one in self.pair.distances)

    @property
    def reach(self) -> float:
        """Of w in units of lr, on the side that came less far."""
        found = [one.max_steps for side in self.sides for one in side.reaches if one.quantity == "w"]
        return min((float(one) for one in found if one is not None), default=0.0)


def clauses_of(run: Run, actual: str, expected: str) -> tuple[Clause, ...]:
    """A clause for every cell of a run, whichever way round it holds the pair."""
    judged = {(one.case, one.dtype): one for one in run.verdicts if {one.actual, one.expected} == {actual, expected}}
    powers = {(one.case, one.dtype, frozenset(pair)): one for one in run.powers for pair in one.holds}
    found = []
    for cell in run.cells:
        key = (cell.case, cell.dtype)
        if key in judged:
            power = powers.get((*key, frozenset((actual, expected))))
            # What else was run is no part of what is certified.
            alone = None if power is None else replace(power, pairs=1, holds=())
            found.append(_clause(_seen(cell, judged[key], (actual, expected), alone)))
        else:
            absent = [name for name in (actual, expected) if name not in {one.name for one in cell.outcomes}]
            obstacle = Obstacle.NOT_RUN if absent else Obstacle.NOT_COMPARED
            detail = " and ".join(absent)
            found.append(Clause(*key, None, obstacle, detail, cell.steps, cell.input_digest))
    return tuple(found)


def _seen(cell: CellResult, judged: PairVerdict, names: tuple[str, str], power: Power | None) -> _Seen:
    held = (judged.actual, judged.expected)
    return _Seen(
        cell,
        judged,
        next(one for one in cell.pairs if (one.actual, one.expected) == held),
        (cell.outcome(names[0]), cell.outcome(names[1])),
        next((one for one in cell.account.pairs if (one.actual, one.expected) == held), None),
        power,
    )


def _clause(seen: _Seen) -> Clause:
    against = next(_against(seen), None)
    one, other = (_hyper(side) for side in seen.sides)
    distances = seen.pair.distances
    shown, told = (set(side.quantities) for side in seen.sides)
    return Clause(
        case=seen.cell.case,
        dtype=seen.cell.dtype,
        ground=_ground(seen) if against is None else None,
        obstacle=against[0] if against else None,
        detail=against[1] if against else "",
        steps=seen.cell.steps,
        input_digest=seen.cell.input_digest,
        families=() if seen.why is None else tuple(dict.fromkeys(family for family, _ in seen.why.families)),
        apart=tuple(_apart(one) for one in distances if one.compared),
        hidden=tuple(sorted(shown ^ told)),
        moved=any(side.moved and side.nonfinite < seen.cell.elements for side in seen.sides),
        nonfinite=sum(one.nonfinite for one in distances),
        zeros=sum(one.opposite_zeros for one in distances),
        reach=seen.reach,
        hyper=one if one == other else None,
        digests=tuple(
            (name, seen.sides[0].digests[name], seen.sides[1].digests[name])
            for name in sorted(shown & told)
            if all(name in side.digests for side in seen.sides)
        ),
        power=seen.power,
    )


def _apart(one: Distance) -> Apart:
    steps = one.worst_max_steps
    ulp = one.worst_max_ulp
    lr, lr_step = (None, 0) if steps is None else (steps.value, steps.step)
    return Apart(one.quantity, one.compared, one.differing, int(ulp.value), ulp.step, lr, lr_step)


def _against(seen: _Seen) -> Iterator[Against]:
    """Everything that stands against equivalence, the plainest first."""
    verdict = seen.judged.verdict
    if verdict.kind in UNANSWERED:
        yield UNANSWERED[verdict.kind], verdict.reason
    if not any(one.quantity == "w" and one.compared for one in seen.pair.distances):
        yield Obstacle.NOT_COMPARABLE, "no weight was compared"
    whole = seen.cell.elements * seen.cell.steps
    for one in seen.pair.distances:
        if one.compared != whole:
            yield Obstacle.NOT_COMPARABLE, f"{one.compared:,} of {whole:,} elements of {one.quantity} were compared"
    if not verdict.as_expected:
        yield Obstacle.NOT_AS_EXPECTED, verdict.reason
    apart = _other_hyper(*(_hyper(side) for side in seen.sides))
    if apart:
        yield Obstacle.OTHER_HYPERPARAMETERS, apart
    if seen.why is not None and seen.differing and seen.why.formula:
        yield Obstacle.OTHER_FORMULA, ""
    if any(one.worst_max_ulp.value == NO_DISTANCE for one in seen.pair.distances):
        yield Obstacle.NONFINITE, ""
    if seen.sides[0].moved != seen.sides[1].moved:
        yield Obstacle.STANDS_STILL, next(side.name for side in seen.sides if not side.moved)
    if not seen.differing:
        if _contradicts(seen):
            yield Obstacle.CONTRADICTION, ""
        return
    if _too_far(seen):
        yield Obstacle.TOO_FAR, ""
    if not _proven(seen):
        yield from _unproven(seen)


def _unproven(seen: _Seen) -> Iterator[Against]:
    """What stands against a difference whose causes are not, or not all, known."""
    verdict, power = seen.judged.verdict, seen.power
    if verdict.kind not in (Kind.WITHIN, Kind.EXPLAINED):
        yield Obstacle.UNEXPLAINED, seen.cell.account.reason if seen.why is None else ""
    elif verdict.blind:
        yield Obstacle.BLIND, ", ".join(verdict.blind)
    elif power is None:
        yield Obstacle.NO_POWER, "the run does not say what the budget catches"
    elif power.unknown:
        yield Obstacle.NO_POWER, power.unknown
    elif not power.caught:
        yield Obstacle.NO_POWER, f"it catches none of {power.applicable} wrong Adams"


def _ground(seen: _Seen) -> Ground:
    if not seen.differing:
        return Ground.IDENTICAL
    return Ground.SAME_FORMULA if _proven(seen) else Ground.WITHIN


def _proven(seen: _Seen) -> bool:
    """Whether named causes account for every differing bit."""
    return seen.why is not None and seen.why.answer == Answer.EXPLAINED and bool(seen.why.families)


def _too_far(seen: _Seen) -> bool:
    """Whether an optimizer that never steps would be as near."""
    largest = max((float(one.worst_max_steps.value) for one in seen.pair.distances if one.worst_max_steps), default=0.0)
    return math.isnan(largest) or (largest > 0 and largest >= seen.reach)


def _contradicts(seen: _Seen) -> bool:
    """Whether every step is said to be equal and the last states are not; NaN and zeros have several bits."""
    if any(one.nonfinite or one.opposite_zeros for one in seen.pair.distances):
        return False
    one, other = (side.digests for side in seen.sides)
    return any(one[name] != other[name] for name in one.keys() & other.keys())


def _hyper(side: Outcome) -> Hyper | None:
    return hyper_from_json(side.hyper) if side.hyper else None


def _other_hyper(one: Hyper | None, other: Hyper | None) -> str:
    """What was asked of one side and not of the other; empty where it is the same."""
    if one is None or other is None:
        return "" if one is other else "not recorded on one side"
    names = [field.name for field in fields(Hyper) if getattr(one, field.name) != getattr(other, field.name)]
    return ", ".join(f"{name} {getattr(one, name)} against {getattr(other, name)}" for name in names)


_SIDE = TypeAdapter(Side)
_CLAUSES = TypeAdapter(tuple[Clause, ...])


def certify(run: Run, actual: str, expected: str, dtypes: Sequence[str] = (), keyword: str = "") -> Certificate:
    """Weigh a pair of a run. dtypes, keyword: what to look at, all where they are empty.

    UsageError for a pair of one, ParityError for a name or dtype that is unknown, NothingCompared where nothing is
    selected.
    """
    _check_names(run, actual, expected)
    wanted = tuple(dict.fromkeys(format_named(dtype).name for dtype in dtypes))
    chosen = matcher(keyword)
    every = clauses_of(run, actual, expected)
    asked: list[Clause] = []
    left_out: list[Clause] = []
    for one in every:
        (asked if chosen(one.case) and (not wanted or one.dtype in wanted) else left_out).append(one)
    if not asked:
        raise NothingCompared(f"no case of the run in {', '.join(wanted) or 'any dtype'} matches -k {keyword!r}")
    reasons = (*_reasons_of_run(run, asked, wanted), *reasons_of(asked))
    sides = _side(run, actual), _side(run, expected)
    return Certificate(
        *sides,
        dtypes=wanted,
        keyword=keyword,
        cases=(len({one.case for one in asked}), len({one.case for one in every})),
        cells=(len(asked), len(every)),
        turned=any((one.actual, one.expected) == (expected, actual) for one in run.verdicts),
        reasons=reasons,
        bounds=tuple(_bounds(asked)),
        settings=tuple(_settings(asked)),
        clauses=tuple(asked),
        left_out=tuple(left_out),
        left_out_reasons=reasons_of(left_out),
        environment=run.environment,
        version=run.version,
        digest="" if reasons else _digest(run, sides, asked),
        narrowing=narrowing(every, asked, keyword) if reasons and run.complete and not run.stale else None,
    )


def _check_names(run: Run, actual: str, expected: str) -> None:
    known = sorted({outcome.name for cell in run.cells for outcome in cell.outcomes})
    for name in (actual, expected):
        if name not in known:
            raise ParityError(f"implementation {name!r} is not in this run; {nearest(name, known)}")
    if actual == expected:
        raise UsageError(f"--certificate {actual} {expected}: takes two implementations, not one twice")


def _reasons_of_run(run: Run, asked: Sequence[Clause], dtypes: Sequence[str]) -> Iterator[Reason]:
    if not run.complete or run.stopped:
        done = f"{run.counts.cells} of {run.counts.cells_planned} cells were run"
        yield Reason(Obstacle.INCOMPLETE, ((f"{run.stopped}; {done}" if run.stopped else done, 1),))
    if run.stale:
        yield Reason(Obstacle.STALE, tuple((line, 1) for line in run.stale))
    lacking = [dtype for dtype in dtypes if all(one.dtype != dtype for one in asked)]
    if lacking:
        yield Reason(Obstacle.NO_SUCH_DTYPE, tuple((dtype, 1) for dtype in lacking))
    if not any(one.obstacle or one.moved for one in asked):
        yield Reason(Obstacle.NOTHING_MOVED, (("", len(asked)),), tuple(asked))


def reasons_of(clauses: Sequence[Clause]) -> tuple[Reason, ...]:
    """What stands against clauses, by obstacle, the most frequent first; causes of a formula are counted one by one."""
    found = []
    for obstacle in Obstacle:
        group = tuple(one for one in clauses if one.obstacle is obstacle)
        if group:
            details = [one.detail for one in group] if obstacle is not Obstacle.OTHER_FORMULA else _formulas(group)
            found.append(Reason(obstacle, tuple(Counter(details).most_common()), group))
    return tuple(sorted(found, key=lambda reason: -len(reason.clauses)))


def _formulas(clauses: Sequence[Clause]) -> list[str]:
    return [family for one in clauses for family in one.families if family in FORMULA]


def _bounds(asked: Sequence[Clause]) -> Iterator[Bound]:
    for dtype in FORMATS:
        granted = [one for one in asked if one.dtype == dtype and one.ground is not None]
        if granted:
            grounds = [one.ground for one in granted]
            yield Bound(
                dtype=dtype,
                cases=len(granted),
                grounds=tuple((ground, grounds.count(ground)) for ground in Ground if ground in grounds),
                compared=sum(one.compared for one in granted),
                differing=sum(one.differing for one in granted),
                lr=_largest_lr(granted),
                ulp=tuple(
                    (name, found)
                    for name in ("w", *(one for one in QUANTITIES if one != "w"))
                    if (found := _largest_ulp(granted, name))
                ),
                unmoved=sum(not one.moved for one in granted),
                partial=sum(bool(one.hidden) or not _shows_moments(one) for one in granted),
                nonfinite=sum(one.nonfinite for one in granted),
                zeros=sum(one.zeros for one in granted),
                weakest=_weakest(granted),
            )


def _shows_moments(clause: Clause) -> bool:
    return {"m", "v"} <= {one.quantity for one in clause.apart}


def _weakest(granted: Sequence[Clause]) -> Power | None:
    held = [one.power for one in granted if one.ground is Ground.WITHIN and one.power is not None]
    return min(held, key=lambda power: power.caught / power.applicable, default=None)


def _largest_lr(granted: Sequence[Clause]) -> Largest:
    found = [
        Largest(apart.lr, one.case, apart.lr_step) for one in granted for apart in one.apart if apart.lr is not None
    ]
    return max(found, key=lambda largest: largest.value)


def _largest_ulp(granted: Sequence[Clause], quantity: str) -> Largest | None:
    found = [
        Largest(apart.ulp, one.case, apart.ulp_step)
        for one in granted
        for apart in one.apart
        if apart.quantity == quantity
    ]
    return max(found, key=lambda largest: largest.value, default=None)


def _settings(asked: Sequence[Clause]) -> Iterator[Setting]:
    """Those of most cases first; a clause that was not compared asks for nothing."""
    cases: dict[object, list[str]] = {}
    for one in asked:
        if one.apart:
            cases.setdefault(one.hyper, []).append(one.case)
    for hyper, names in sorted(cases.items(), key=lambda item: -len(set(item[1]))):
        yield Setting(hyper, tuple(dict.fromkeys(names)))  # type: ignore[arg-type]


def _side(run: Run, name: str) -> Side:
    """What surrounded an implementation: the process of its framework, that of its own for a plug-in."""
    shipped = shipped_implementations().get(name)
    facts = run.workers.get(name if shipped is None else shipped.framework, run.environment)
    installed = facts["packages"]
    needed = installed if shipped is None else tuple(_packages(shipped.needs, tuple(installed)))
    return Side(
        name, facts["python"], tuple((package, installed[package]) for package in installed if package in needed)
    )


def _packages(needs: Sequence[str], installed: Sequence[str]) -> Iterator[str]:
    """Those of the first alternative of every need that is there, with their parts: jaxlib of jax, tensorflow-cpu."""
    for need in needs:
        for alternative in need.split("|"):
            module = alternative.partition(">")[0].partition("<")[0]
            found = [package for package in installed if package.startswith(module)]
            if found:
                yield from found
                break


def _digest(run: Run, sides: Sequence[Side], clauses: Sequence[Clause]) -> str:
    told = [
        run.version,
        run.environment,
        [_SIDE.dump_python(side, mode="json") for side in sides],
        [run.cases[one.case].get("digest", "") for one in clauses],
        _CLAUSES.dump_python(tuple(clauses), mode="json"),
    ]
    return digest_of(json.dumps(told, sort_keys=True).encode())
