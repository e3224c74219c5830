"""Two optimizers held against each other: what parts kept traces, and why two implementations part."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from parity.api.run import check_output, prepare_output
from parity.case.catalogue import cases_named
from parity.case.expectation import Expectation
from parity.comparison.trace import read_trace
from parity.comparison.traces import Divergence, compare_traces
from parity.engine.candidates import candidate_of
from parity.explain.explain import OnFailure, explain_case
from parity.explain.explanation import Explanation
from parity.identify.formula_first import formula_first
from parity.identify.probed import Probed
from parity.numerics.formats import format_named


def compare(actual: Path | str, expected: Path | str, expectation: Expectation | None = None) -> Divergence:
    """Compare two kept traces, and give their divergence at every step.

    actual, expected: folders that `run` left with ``Options(keep_traces=True)``. expectation: what the verdict is held
    to, IDENTICAL where there is none; NOT_COMPARABLE where both do not answer the same question. ParityError where a
    folder is missing, truncated or altered.
    """
    return compare_traces(read_trace(Path(actual)), read_trace(Path(expected)), expectation)


def explain(
    case: Path | str,
    actual: str,
    expected: str,
    dtypes: Iterable[str] = (),
    output: Path | str | None = None,
    *,
    timeout: float | None = 300.0,
    on_failure: OnFailure = lambda name, place, failure: None,
) -> tuple[Explanation, ...]:
    """Run two implementations on a case and say why they differ, dtype by dtype.

    Of a side that no from-scratch Adam equals bit for bit, the formula is read as `identify` reads it.

    case: the name of a shipped case, or a file (whose sweep is explained member by member). actual, expected: names
    or plug-ins. dtypes: none for all of the case. timeout: seconds a worker may take for one answer, None for ever.
    output: where the run with its traces stays, None for nowhere. on_failure: is called with whoever does
    not come to its end. ParityError for a bad case, name or dtype, NothingCompared where there is one in every dtype.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    cases = cases_named(case)
    folder = None if output is None else Path(output)
    if folder is not None:
        check_output(folder)
    sides = [candidate_of(target, timeout) for target in (actual, expected)]
    if folder is not None:
        prepare_output(folder, resume=False)
    by_name = {one.name: one for one in sides}
    found: list[Explanation] = []
    asked: dict[tuple[str, str], Probed] = {}
    for each in cases:
        deepen = partial(formula_first, case=each, candidates=by_name, timeout=timeout, asked=asked)
        found += explain_case(each, sides[0], sides[1], wanted, folder, timeout, on_failure, deepen)
    return tuple(found)
