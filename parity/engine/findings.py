"""What a person should know about a run before any table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from parity.case.case import RESTARTED
from parity.case.expectation import Kind
from parity.comparison.verdict import Verdict
from parity.engine.power import Power
from parity.engine.result import CellResult, Held, Outcome, PairResult
from parity.numerics.formats import FORMATS

FEW = 4
"""Implementations up to which a title names them."""

Judged = tuple[str, str, str, str, Verdict]
"""case, dtype, actual, expected, verdict"""


class Severity(StrEnum):
    """How much it matters.

    ALARM: the run is red because of it. WARNING: expected, and still harmful; or what is known of an arithmetic does
    not hold on a machine that nobody has seen. NOTE: good to know.
    """

    ALARM = "alarm"
    WARNING = "warning"
    NOTE = "note"


class Topic(StrEnum):
    """What a finding is about, as far as one weight of one optimizer can show it.

    FORMULA: two frameworks are not the same Adam. STILL: no weight ever moves. NONFINITE: NaN or inf. DEFAULTS: of the
    hyperparameters. CLAIM: an implementation is not what it is known to be, bit by bit. OTHER: budgets, verdicts, what
    cannot run.
    """

    FORMULA = "formula"
    STILL = "still"
    NONFINITE = "nonfinite"
    DEFAULTS = "defaults"
    CLAIM = "claim"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. subject: implementation or pair. where: cases and dtypes in which it holds, worst first."""

    severity: Severity
    subject: str
    title: str
    detail: str
    where: tuple[str, ...]
    topic: Topic = Topic.OTHER

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of its subject: implementations, where it is about some."""
        return tuple(part.strip() for part in self.subject.replace(" / ", ", ").split(","))

    @property
    def worst(self) -> tuple[str, str] | None:
        """Case and dtype of the place in which it holds most; None where it holds in none."""
        case, _, dtype = self.where[0].rpartition(" ") if self.where else ("", "", "")
        return (case, dtype) if case else None


def find(results: Sequence[CellResult], judged: Sequence[Judged], powers: Sequence[Power] = ()) -> tuple[Finding, ...]:
    """All findings, worst first."""
    findings = [
        *_unexpected(results, judged),
        *_broken_claims(results),
        *_other_formulas(results, judged),
        *_standing_still(results),
        *_lost_updates(results),
        *_nonfinite(results),
        *_blind(judged),
        *_weak(powers),
        *_different_hyperparameters(results),
        *_different_dtypes(results),
        *_failures(results),
        *_unseen_machines(results),
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _unexpected(results: Sequence[CellResult], judged: Iterable[Judged]) -> Iterable[Finding]:
    sizes = {(cell.case, cell.dtype, one.actual, one.expected): _size(one) for cell in results for one in cell.pairs}
    restarts = {(cell.case, cell.dtype, why.actual, why.expected): why.sentence
                for cell in results for why in cell.account.pairs if why.actual.endswith(RESTARTED)}  # fmt: skip
    grouped: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        if not one[4].as_expected:
            grouped[one[2], one[3]].append(one)
    for (actual, expected), group in grouped.items():
        group.sort(key=lambda one: sizes.get(one[:4], 0.0), reverse=True)
        case, dtype, _, _, verdict = group[0]
        lost = restarts.get(group[0][:4])
        yield Finding(
            Severity.ALARM,
            f"{actual} / {expected}",
            f"{actual} against {expected} is not as expected",
            f"{case} in {dtype}: {verdict.kind}, {verdict.reason}" + (f"; {lost}" if lost else ""),
            tuple(f"{one[0]} {one[1]}" for one in group),
        )


def _size(pair: PairResult) -> float:
    """The largest difference of w in units of lr; inf where there is no number, or nothing was compared."""
    if not pair.distances:
        return math.inf
    worst = None if pair.weights is None else pair.weights.worst_max_steps
    value = 0.0 if worst is None else float(worst.value)
    return math.inf if math.isnan(value) else value


def _broken_claims(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Implementations that are not the Adam they are known to be, bit by bit."""
    cells: dict[tuple[str, str, str, str], list[tuple[str, Held]]] = defaultdict(list)
    for result in results:
        for one in result.account.held:
            if one.broken:
                cells[one.implementation, result.dtype, one.machine, one.unconfirmed].append((result.case, one))
    for (name, dtype, machine, unconfirmed), broken in cells.items():
        broken.sort(key=lambda one: one[1].broken, reverse=True)
        told = "; ".join(f"{case}: {one.broken:,} of {one.compared:,} elements" for case, one in broken[:3])
        more = f", and {len(broken) - 3} more cases" if len(broken) > 3 else ""
        fits = " Another arithmetic fits." if any(one.source == "replaced" for _, one in broken) else ""
        yield Finding(
            Severity.WARNING if unconfirmed else Severity.ALARM,
            name,
            f"{name} in {dtype} is not the Adam it is known to be, bit by bit",
            f"On {machine} its twin leaves {told}{more}.{fits} The claim was {unconfirmed or 'confirmed there'}. "
            "'parity explain' and 'parity identify' say more.",
            tuple(f"{case} {dtype}" for case, _ in broken),
            Topic.CLAIM,
        )


def _unseen_machines(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Implementations that nobody has held against their claims on such a machine, or in such a release."""
    places: dict[tuple[str, str], dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        for one in result.account.held:
            if one.unconfirmed and one.source in ("claimed", "replaced"):
                places[one.machine, one.unconfirmed][one.implementation][f"{result.case} {result.dtype}"] = None
    for (machine, unconfirmed), names in places.items():
        told = ", ".join(names)
        yield Finding(
            Severity.NOTE,
            told,
            f"Nobody has confirmed on such a machine what is known of {told}",
            f"They ran on {machine}; they were {unconfirmed}. 'parity doctor --confirm' looks at every one.",
            tuple(dict.fromkeys(where for cells in names.values() for where in cells)),
        )


def _standing_still(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Implementations whose weights never left their initial values where another's did, and stayed finite."""
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        ran = [outcome for outcome in result.outcomes if outcome.failure is None]
        if any(outcome.moved and not outcome.nonfinite for outcome in ran):
            for outcome in ran:
                if not outcome.moved:
                    cells[outcome.name, result.dtype].append(result.case)
    for dtype, groups in _together(cells).items():
        names = [name for group, _ in groups for name in group]
        few = ", ".join(names) if len(names) <= FEW else f"{len(names)} implementations"
        yield Finding(
            Severity.WARNING,
            ", ".join(names),
            f"{few} never moved a weight in {dtype}",
            f"Others moved on the same gradients. {_by_group(groups)}.",
            _places(groups, dtype),
            Topic.STILL,
        )


LEAST_LOST = 0.01
"""Share of the updates from which on it is told that they are lost."""

MANY_LOST = 0.1
"""Share from which on that is a warning."""


def _lost_updates(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Exact updates that are not zero and move no weight, as they are smaller than what its dtype can tell apart."""
    found: dict[str, dict[str, list[tuple[float, str, Held]]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        # What a copy does not show its master has.
        for one in () if "state.master" in result.stages else result.account.held:
            if one.lost >= LEAST_LOST * max(one.updates, 1):
                found[result.dtype][one.implementation].append((one.lost / one.updates, result.case, one))
    for dtype, names in found.items():
        lost = sum(one.lost for held in names.values() for _, _, one in held)
        share = lost / sum(one.updates for held in names.values() for _, _, one in held)
        places = {case: max(part for held in names.values() for part, one, _ in held if one == case)
                  for held in names.values() for _, case, _ in held}  # fmt: skip
        worst = sorted(places, key=lambda case: -places[case])
        alike: dict[str, list[str]] = defaultdict(list)
        for name, held in names.items():
            part = sum(one.lost for _, _, one in held) / sum(one.updates for _, _, one in held)
            alike[f"{part:.0%}"].append(name)
        told = "; ".join(f"{part}: {', '.join(sharing)}" for part, sharing in alike.items())
        yield Finding(
            Severity.WARNING if share >= MANY_LOST else Severity.NOTE,
            ", ".join(names),
            f"{share:.0%} of the updates in {dtype} were lost to rounding",
            f"The exact update is not zero, and the weight did not move, in {len(places)} case(s), most in {worst[0]} "
            f"({places[worst[0]]:.0%}). {told}.",
            tuple(f"{case} {dtype}" for case in worst),
        )


def _nonfinite(results: Iterable[CellResult]) -> Iterable[Finding]:
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        for outcome in result.outcomes:
            if outcome.nonfinite:
                cells[outcome.name, result.dtype].append(result.case)
    for dtype, groups in _together(cells).items():
        yield Finding(
            Severity.WARNING,
            ", ".join(name for group, _ in groups for name in group),
            f"NaN or inf in {dtype}",
            f"In the last state. {_by_group(groups)}.",
            _places(groups, dtype),
            Topic.NONFINITE,
        )


Groups = list[tuple[list[str], tuple[str, ...]]]
"""Names of which something is true in the same cases, with these; the most cases first."""


def _together(cells: dict[tuple[str, str], list[str]]) -> dict[str, Groups]:
    """By dtype, so that what is true of several implementations is said once."""
    grouped: dict[str, dict[tuple[str, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for (name, dtype), cases in cells.items():
        grouped[dtype][tuple(cases)].append(name)
    return {
        dtype: [(names, cases) for cases, names in sorted(groups.items(), key=lambda one: -len(one[0]))]
        for dtype, groups in grouped.items()
    }


def _by_group(groups: Groups) -> str:
    return "; ".join(f"{', '.join(names)}: in {len(cases)} case(s)" for names, cases in groups)


def _places(groups: Groups, dtype: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{case} {dtype}" for _, cases in groups for case in cases))


def _blind(judged: Iterable[Judged]) -> Iterable[Finding]:
    """Quantities in which WITHIN says nothing, as rounding alone may carry two right Adams that far."""
    cells: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for case, dtype, _, _, verdict in judged:
        for quantity in verdict.blind:
            cells[quantity, dtype][f"{case} {dtype}"] += 1
    for (quantity, dtype), where in cells.items():
        yield Finding(
            Severity.WARNING,
            f"{quantity} {dtype}",
            f"WITHIN says nothing about {quantity} in {dtype}",
            f"In {sum(where.values())} pair(s) its budget would admit an optimizer that never steps, so a wrong Adam "
            "may pass there; look at the other quantities and at the wider dtypes.",
            tuple(sorted(where, key=lambda place: -where[place])),
        )


def _weak(powers: Iterable[Power]) -> Iterable[Finding]:
    """Dtypes in which budgets let most wrong Adams pass."""
    cells: dict[str, list[Power]] = defaultdict(list)
    for power in powers:
        if not power.unknown and power.applicable:
            cells[power.dtype].append(power)
    for dtype, asked in cells.items():
        weak = sorted((power for power in asked if power.weak), key=lambda power: power.caught / power.applicable)
        if not weak:
            continue
        worst = weak[0]
        yield Finding(
            Severity.WARNING,
            dtype,
            f"{len(weak)} of {len(asked)} budgets in {dtype} let most wrong Adams pass",
            f"WITHIN says little there. The weakest, of {worst.case} ({worst.budget}), catches {worst.caught} of "
            f"{worst.applicable} wrong Adams; look at the wider dtypes.",
            tuple(dict.fromkeys(f"{power.case} {dtype}" for power in weak)),
        )


def _different_hyperparameters(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Cases in which implementations were asked for different hyperparameters: their own defaults."""
    seen = set()
    for result in results:
        if result.case in seen:
            continue
        for name in ("lr", "beta1", "beta2", "eps"):
            groups = _by_value(result.outcomes, name)
            if len(groups) > 1:
                seen.add(result.case)
                told = "; ".join(f"{value:g}: {', '.join(names)}" for value, names in groups.items())
                yield Finding(
                    Severity.WARNING,
                    result.case,
                    f"The default {name} is not the same everywhere",
                    f"{name} = {told}.",
                    tuple(f"{result.case} {dtype}" for dtype in FORMATS if _has(results, result.case, dtype)),
                    Topic.DEFAULTS,
                )


def _different_dtypes(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Moments that some keep in a wider dtype than others; they were compared in the wider one."""
    seen: dict[tuple[str, str, tuple[tuple[str, tuple[str, ...]], ...]], list[str]] = defaultdict(list)
    for result in results:
        for quantity in ("m", "v", "vmax"):
            shown = [outcome for outcome in result.outcomes if quantity in outcome.quantities]
            own = next((outcome.formats.get("w", {}) for outcome in shown), {})
            kept: dict[str, list[str]] = defaultdict(list)
            for outcome in shown:
                formats = {**own, **outcome.formats.get(quantity, {})}
                told = sorted({*formats.values()} | ({result.dtype} if len(formats) < result.parameters else set()))
                kept[" and ".join(told)].append(outcome.name)
            if len(kept) > 1:
                groups = tuple((dtype, tuple(names)) for dtype, names in sorted(kept.items()))
                seen[result.case, result.dtype, groups].append(quantity)
    told_once: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for (case, dtype, groups), quantities in seen.items():
        what = f"{' and '.join(quantities)} {'are' if len(quantities) > 1 else 'is'}"
        title = f"{what} " + " and ".join(f"{kept} in {', '.join(names)}" for kept, names in groups)
        told_once[title, ", ".join(name for _, names in groups for name in names)][f"{case} {dtype}"] = None
    detail = "They were compared in the wider dtype, which holds both exactly."
    for (title, subject), where in told_once.items():
        yield Finding(Severity.NOTE, subject, title, detail, tuple(where))


def _by_value(outcomes: Iterable[Outcome], name: str) -> dict[float, list[str]]:
    groups: dict[float, list[str]] = defaultdict(list)
    for outcome in outcomes:
        value = outcome.hyper[name]
        if isinstance(value, str):
            groups[float.fromhex(value)].append(outcome.name)
    return groups


def _has(results: Iterable[CellResult], case: str, dtype: str) -> bool:
    return any((result.case, result.dtype) == (case, dtype) for result in results)


def _failures(results: Iterable[CellResult]) -> Iterable[Finding]:
    cells: dict[tuple[Kind, str, tuple[str, ...]], list[str]] = defaultdict(list)
    failed: dict[tuple[str, Kind, str], list[str]] = defaultdict(list)
    for result in results:
        for outcome in result.outcomes:
            if outcome.failure is not None:
                failure = outcome.failure
                failed[outcome.name, failure.verdict, failure.reason].append(f"{result.case} {result.dtype}")
    for (name, kind, reason), where in failed.items():
        cells[kind, reason, tuple(where)].append(name)
    for (kind, reason, places), names in cells.items():
        # A crash that no case expects is an alarm already, as a verdict that is not as expected.
        severity = Severity.WARNING if kind is Kind.CRASHED else Severity.NOTE
        told = ", ".join(names)
        yield Finding(severity, told, f"{told} {kind.lower()} in {len(places)} cell(s)", reason, places)


def _other_formulas(results: Sequence[CellResult], judged: Sequence[Judged]) -> Iterable[Finding]:
    """Pairs of two frameworks that part in float64 as expected: there rounding is out of the question."""
    pairs: dict[tuple[str, str], list[tuple[float, str, str]]] = defaultdict(list)
    cells = {(result.case, result.dtype): result for result in results}
    for case, dtype, actual, expected, verdict in judged:
        families = {actual.partition(".")[0], expected.partition(".")[0]}
        if dtype == "float64" and verdict.wanted is Kind.DIVERGED is verdict.kind and len(families - {"numpy"}) == 2:
            result = cells[case, dtype]
            pair = next(one for one in result.pairs if (one.actual, one.expected) == (actual, expected))
            pairs[actual, expected].append((_size(pair), case, verdict.because))
    for (actual, expected), cases in pairs.items():
        cases.sort(reverse=True)
        steps, case, because = cases[0]
        yield Finding(
            Severity.WARNING,
            f"{actual} / {expected}",
            f"{actual} and {expected} are not the same Adam",
            f"In float64 their weights part in {len(cases)} case(s), by up to {steps:.3g} lr in {case}. {because}",
            tuple(f"{case} float64" for _, case, _ in cases),
            Topic.FORMULA,
        )
