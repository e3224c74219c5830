"""From the record of a run to the clauses of a pair: which ground each has, or what stands against it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.trace import hyper_from_json
from parity.core.hyper import Hyper
from parity.engine.power import Power
from parity.engine.record import PairVerdict, Run
from parity.engine.result import CellResult, Outcome, PairResult, Why
from parity.explain.causes import BENIGN, Family
from parity.explain.explanation import Answer
from parity.numerics.ulp import NO_DISTANCE
from parity.report.panels.clause import Apart, Clause, Ground, Obstacle

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
    if seen.why is not None and seen.differing and _formula(seen.why):
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
    if verdict.kind is not Kind.WITHIN:
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


def _formula(why: Why) -> list[str]:
    """Causes that are more than arithmetic, however small their share."""
    return [family for family, _ in why.families if family not in BENIGN and family != Family.UNEXPLAINED]


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
