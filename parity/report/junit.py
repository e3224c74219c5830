"""A run as JUnit's XML: a suite for each case, a test for each pair; red wherever the exit code is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from parity.case.expectation import Kind
from parity.engine.accounts import claims_broken
from parity.engine.findings import Severity
from parity.engine.record import PairVerdict, Run
from parity.report.figures import value_text
from parity.report.markup import printable

INCOMPLETE = "incomplete"
NOTHING = "nothing compared"
STALE = "stale expectation"
CLAIM = "claim that does not hold"


def write_junit(run: Run, path: Path) -> None:
    """Write a run where CI servers read the results of tests.

    A pair that is as expected passes, and is skipped where its verdict is SKIPPED; any other fails, and is an error
    where its verdict is CRASHED. Stale expectations, a run that ended early and one that compared nothing are tests
    that fail, so that the file is green only where the exit code is 0. It holds no times: cells run side by side.
    """
    document = JUnitXml("parity")
    for case in run.cases:
        _add(document, case, [_test(run, one) for one in run.verdicts if one.case == case])
    _add(document, "parity", list(_alarms(run)))
    document.update_statistics()  # type: ignore[no-untyped-call]
    document.write(str(path), pretty=True)


def _add(document: JUnitXml, name: str, tests: list[TestCase]) -> None:
    if not tests:
        return
    suite = TestSuite(name)
    suite.add_testcases(tests)
    document.add_testsuite(suite)


def _test(run: Run, one: PairVerdict) -> TestCase:
    """Named as the pytest plug-in names the same pair."""
    verdict = one.verdict
    test = TestCase(f"{one.case}[{one.dtype}-{one.actual}-{one.expected}]", one.case)
    message = f"{verdict.kind}: {printable(verdict.reason)}"
    if not verdict.as_expected:
        result = (Error if verdict.kind is Kind.CRASHED else Failure)(message, str(verdict.kind))
        result.text = printable("\n".join(_lines(run, one)))
        test.result = [result]
    elif verdict.kind is Kind.SKIPPED:
        test.result = [Skipped(message)]
    return test


def _lines(run: Run, one: PairVerdict) -> Iterator[str]:
    verdict = one.verdict
    yield f"{verdict.kind}, expected {verdict.wanted or 'nothing'}: {one.actual} against {one.expected}"
    yield verdict.reason
    if verdict.because:
        yield f"expected because: {verdict.because}"
    for distance in run.pair(one).distances:
        first = distance.first
        if first is not None:
            yield f"{distance.quantity} differs from step {first.step} on, in {first.parameter}[{first.index}]"
            yield f"  actual   {value_text(first.actual)}"
            yield f"  expected {value_text(first.expected)}"


def _alarms(run: Run) -> Iterator[TestCase]:
    told = [(STALE, line) for line in run.stale]
    told += [(CLAIM, f"{one.title}: {one.detail}") for one in claims_broken(run) if one.severity is Severity.ALARM]
    if not run.complete:
        counts = run.counts
        told.append((INCOMPLETE, f"{run.stopped or INCOMPLETE}: {counts.cells} of {counts.cells_planned} cells"))
    if not run.counts.elements:
        told.append((NOTHING, "not one element was compared"))
    for kind, line in told:
        test = TestCase(f"{kind}: {printable(line)}", "parity")
        test.result = [Failure(printable(line), kind)]
        yield test
