"""The fixture `parity`: what a test may claim of an Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.api.claim import Within, claim_cells, excused, place_name
from parity.api.target import Target, candidate_from, place_of
from parity.case.case import Case
from parity.case.catalogue import cases_named
from parity.case.expectation import Kind
from parity.core.errors import NothingCompared, ParityError, UsageError, nearest
from parity.engine.pair_answer import PairAnswer, pair_answer
from parity.engine.plan import Cell
from parity.explain.causes import Family
from parity.implementations.implementation import Implementation
from parity.pytest_plugin.desk import desk_of, importable
from parity.pytest_plugin.told import NotAsExpected, properties
from parity.report.drift import drift_text
from parity.report.failure import failure_text
from parity.report.reproduction import explain_command, run_command, test_command

GREEN = (Kind.IDENTICAL, Kind.WITHIN, Kind.EXPLAINED)
"""What a test may come to that claims sameness."""

DEFAULT_CASE = "same-hyperparameters"
DEFAULTS = ("case", "dtype", "within", "nonfinite")


class Parity:
    """The claims of one test; whatever does not hold is an AssertionError."""

    def __init__(self, test: pytest.Item) -> None:
        self._test, self._desk = test, desk_of(test.config)
        self._defaults: dict[str, Any] = {}
        for marker in reversed(list(test.iter_markers("parity"))):
            if marker.args:
                raise UsageError(f"marker parity: {marker.args[0]!r} has no name; allowed: {', '.join(DEFAULTS)}")
            for name in marker.kwargs:
                if name not in DEFAULTS:
                    raise UsageError(f"marker parity: {name!r} is unknown; {nearest(name, DEFAULTS)}")
            self._defaults |= marker.kwargs

    def assert_same(
        self,
        actual: Target,
        expected: Target,
        *,
        case: str | Path | Case | None = None,
        dtype: str | Sequence[str] | None = None,
        within: Within = None,
        nonfinite: bool | None = None,
    ) -> tuple[PairAnswer, ...]:
        """Claim that two implementations are the same Adam on a case, at every step.

        actual, expected: 'module:attribute', 'file.py:attribute' or a name, which run in workers; or a run function or
        an Implementation, which runs here. case: the name of a shipped one, a file, or a Case. dtype, within,
        nonfinite: see `parity.api.claim.claim_cells`. The marker `parity` gives what is left out.
        """
        __tracebackhide__ = True
        given = {"case": case, "dtype": dtype, "within": within, "nonfinite": nonfinite}
        asked = {**self._defaults, **{name: value for name, value in given.items() if value is not None}}
        with importable():
            one, here = candidate_from(actual, self._desk.timeout)
            other, here_too = candidate_from(expected, self._desk.timeout)
        if one.name == other.name:
            raise NothingCompared(f"nothing to compare: both sides are {one.name}; give one of them another name")
        question = asked.get("case") or DEFAULT_CASE
        cells = claim_cells(
            (question,) if isinstance(question, Case) else cases_named(question),
            one,
            other,
            dtypes=_listed(asked.get("dtype")),
            within=asked.get("within"),
            nonfinite=bool(asked.get("nonfinite")),
            place=place_name(self._test.nodeid, self._desk.call(self._test.nodeid)),
        )
        pair = (one.name, other.name)
        answers, failures = [], []
        for cell in cells:
            answer = pair_answer(cell, self._desk.result(cell, *here, *here_too), *pair)
            failures += [drift_text(one, self._desk.place()) for one in self._desk.fallen(cell)]
            self._test.user_properties += properties(answer)
            answers.append(answer)
            # DIVERGED can be as expected where rounding has no limit; nobody can claim sameness there.
            if not answer.verdict.as_expected or answer.verdict.kind not in GREEN:
                failures.append(failure_text(answer, self._reproduction(question, cell, (actual, expected))))
        if failures:
            raise AssertionError("\n\n".join(failures))
        return tuple(answers)

    def hold(self, cell: Cell, here: Sequence[Implementation] = (), *, reproducible: bool = False) -> None:
        """Hold every pair of a cell to what its case expects; a test that is expected to fail says so in the report.

        here: those that run in this process. reproducible: the case is a shipped one, and the command line can name
        all implementations.
        """
        place = place_name(self._test.nodeid.partition("[")[0])
        named = replace(cell, case=cell.case.model_copy(update={"name": f"{cell.case.name}@{place}"}))
        result = self._desk.result(named, *here)
        fallen = [drift_text(one, self._desk.place()) for one in self._desk.fallen(named)]
        if fallen:
            # Not NotAsExpected: a failure that is expected of a pair is none of the baseline's.
            pytest.fail("\n\n".join(fallen), pytrace=False)
        answers = [pair_answer(named, result, *pair) for pair in cell.pairs]
        for answer in answers:
            self._test.user_properties += properties(answer)
        failed = [answer for answer in answers if not answer.verdict.as_expected]
        if failed:
            for marker in self._test.iter_markers("xfail"):
                self._desk.replace(excused(named, result, marker.kwargs["reason"]))
            test = "" if reproducible else test_command(self._test.nodeid)
            texts = [failure_text(one, test or run_command(cell, (one.actual, one.expected))) for one in failed]
            raise NotAsExpected("\n\n".join(texts))
        if all(answer.verdict.kind is Kind.SKIPPED for answer in answers):
            pytest.skip(answers[0].verdict.reason)

    def assert_identified(
        self,
        target: Target,
        *,
        dtype: str | Sequence[str] = "float64",
        exact: bool = False,
        departures: str | Sequence[str] = (),
        **convention: object,
    ) -> None:
        """Claim which Adam an implementation is, as `parity identify` finds out: ``epsilon="hat"``.

        target: as in `assert_same`; it is asked in processes of its own, so an object has to stand at the top of a
        file. dtype: one, or several. exact: bit for bit, not only to within rounding. departures: families of those
        that it may have from what it claims and was asked ("weight-decay"); any other one fails, and so does another
        optimizer. convention: choices by name (epsilon, bias_correction, step_count, weight_decay, amsgrad).
        """
        __tracebackhide__ = True
        from parity.identify.identify import identify
        from parity.report.failure import misidentified_text

        named = target if isinstance(target, str) else place_of(target)
        if named is None:
            raise UsageError(f"{target!r} is asked in a process of its own: it has to stand at the top of a file")
        allowed = _listed(departures)
        for family in allowed:
            if family not in tuple(Family):
                raise ParityError(f"departures: {family!r} is unknown; {nearest(family, list(map(str, Family)))}")
        with importable():
            candidate, _ = candidate_from(named, self._desk.timeout)
            answers = identify(candidate, _listed(dtype), timeout=self._desk.timeout, claim=convention)
        known = {name for answer in answers.values() for name in answer.convention}
        for name in convention:
            if known and name not in known:
                raise ParityError(f"convention {name!r} is unknown; {nearest(name, known)}")
        command = " ".join(["parity identify", named, *(f"-d {one}" for one in answers)])
        text = misidentified_text(candidate.name, answers, convention, allowed, command, exact=exact)
        if text:
            raise AssertionError(text)

    def _reproduction(self, case: str | Path | Case, cell: Cell, targets: tuple[Target, Target]) -> str:
        """A command of parity where both sides can be named, else the test itself."""
        names = [target if isinstance(target, str) else place_of(target) for target in targets]
        if isinstance(case, Case) or None in names:
            return test_command(self._test.nodeid)
        return explain_command(str(case), [str(name) for name in names], cell.dtype)


def _listed(given: str | Sequence[str] | None) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)
