"""What a person should know about a run before any table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from parity.comparison.verdict import Verdict
from parity.engine.result import CellResult, Outcome
from parity.expectation import Kind
from parity.numerics.formats import FORMATS

Judged = tuple[str, str, str, str, Verdict]
"""case, dtype, actual, expected, verdict"""


class Severity(StrEnum):
    """ALARM: the run is red because of it. WARNING: expected, and still harmful. NOTE: good to know."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. subject: implementation or pair. where: cases and dtypes in which it holds."""

    severity: Severity
    subject: str
    title: str
    detail: str
    where: tuple[str, ...]


def find(results: Sequence[CellResult], judged: Sequence[Judged]) -> tuple[Finding, ...]:
    """All findings, worst first."""
    findings = [
        *_unexpected(judged),
        *_standing_still(results),
        *_nonfinite(results),
        *_different_hyperparameters(results),
        *_failures(results),
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _unexpected(judged: Iterable[Judged]) -> Iterable[Finding]:
    grouped: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        if not one[4].as_expected:
            grouped[one[2], one[3]].append(one)
    for (actual, expected), group in grouped.items():
        case, dtype, _, _, verdict = group[0]
        yield Finding(
            Severity.ALARM,
            f"{actual} / {expected}",
            f"{actual} against {expected} is not as expected",
            f"{case} in {dtype}: {verdict.kind}, {verdict.reason}",
            tuple(f"{one[0]} {one[1]}" for one in group),
        )


def _standing_still(results: Iterable[CellResult]) -> Iterable[Finding]:
    """Implementations whose weights never left their initial values where another's did."""
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        ran = [outcome for outcome in result.outcomes if outcome.failure is None]
        if any(outcome.moved for outcome in ran):
            for outcome in ran:
                if not outcome.moved:
                    cells[outcome.name, result.dtype].append(result.case)
    for (name, dtype), cases in cells.items():
        yield Finding(
            Severity.WARNING,
            name,
            f"{name} never moved a weight in {dtype}",
            f"In {len(cases)} case(s) other implementations moved on the same gradients and this one did not.",
            tuple(f"{case} {dtype}" for case in cases),
        )


def _nonfinite(results: Iterable[CellResult]) -> Iterable[Finding]:
    cells: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for result in results:
        for outcome in result.outcomes:
            if outcome.nonfinite:
                cells[outcome.name, result.dtype].append((result.case, outcome.nonfinite))
    for (name, dtype), cases in cells.items():
        yield Finding(
            Severity.WARNING,
            name,
            f"{name} ends with NaN or inf in {dtype}",
            f"In {len(cases)} case(s); at most {max(count for _, count in cases)} elements of the last state.",
            tuple(f"{case} {dtype}" for case, _ in cases),
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
                )


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
    cells: dict[tuple[str, Kind, str], list[str]] = defaultdict(list)
    for result in results:
        for outcome in result.outcomes:
            if outcome.failure is not None:
                failure = outcome.failure
                cells[outcome.name, failure.verdict, failure.reason].append(f"{result.case} {result.dtype}")
    for (name, kind, reason), where in cells.items():
        severity = Severity.ALARM if kind is Kind.CRASHED else Severity.NOTE
        yield Finding(severity, name, f"{name} {kind.lower()} in {len(where)} cell(s)", reason, tuple(where))
