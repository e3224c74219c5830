"""Verbs: explain pairs of traces, or run two implementations and explain them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from parity.case.case import Case
from parity.comparison.trace import Trace, read_trace
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.engine.candidates import describe_plugin, shipped_candidates
from parity.engine.plan import Candidate, Cell, Plan
from parity.engine.run import Options, execute, traces_path
from parity.explain.accounting import causes_from_ladder, causes_from_split
from parity.explain.causes import Cause
from parity.explain.explanation import Answer, ErrorRow, Explanation, Meaning, SplitRow, Told
from parity.explain.inputs import Inputs
from parity.explain.ladder import Rung, ladder
from parity.explain.libraries import Libraries
from parity.explain.noise import Noise, noise
from parity.explain.split import PairSplit, Series, split
from parity.explain.spread import spreads
from parity.explain.standing import Standing, standing_of
from parity.implementations.registry import check_target, shipped_implementations
from parity.numerics.formats import FORMATS


def explain_cell(
    case: Case,
    traces: Mapping[str, Trace],
    pairs: Sequence[tuple[str, str]],
    claims: Mapping[str, str | None],
    libraries: Libraries,
    *,
    thorough: Collection[tuple[str, str]],
) -> tuple[Explanation, ...]:
    """Explains pairs of one case in one dtype; every residual and every oracle is made once for all of them.

    traces, claims (the place of epsilon that is stated, or None): by name. thorough: the pairs that also get ladder,
    noise floor and spread, which take free runs or another pass. ParityError where a trace answers another question.
    """
    if not pairs:
        return ()
    inputs = Inputs(case, traces[pairs[0][0]].format)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    standings = {name: standing_of(traces[name], claims.get(name), inputs, libraries) for name in names}
    different = [pair for pair in pairs if not _identical(*(traces[name] for name in pair))]
    measured = split([(standings[a].side, standings[b].side) for a, b in pairs], inputs)
    floors = {name: noise(standings[name].adam, inputs) for name in {b for a, b in different if (a, b) in thorough}}
    found = []
    for pair in pairs:
        actual, expected = (standings[name] for name in pair)
        parts = measured.of(actual.side, expected.side)
        floor = floors[pair[1]] if pair in different and pair in thorough else None
        found.append(_explanation(actual, expected, parts, inputs, floor, differ=pair in different))
    return tuple(found)


def explain_traces(
    actual: Path, expected: Path, case: Case, *, timeout: float | None = 300.0, thorough: bool = True
) -> Explanation:
    """Explains two kept traces of a case."""
    one, other = read_trace(actual), read_trace(expected)
    if one.implementation == other.implementation:
        raise UsageError(f"{actual} and {expected} are traces of one implementation, {one.implementation}")
    claims = {name: made.convention for name, made in shipped_implementations().items()}
    traces = {one.implementation: one, other.implementation: other}
    pairs = [(one.implementation, other.implementation)]
    with Libraries(timeout) as libraries:
        (found,) = explain_cell(case, traces, pairs, claims, libraries, thorough=pairs if thorough else ())
    return found


def explain_case(
    case: Case,
    actual: Candidate,
    expected: Candidate,
    dtypes: Sequence[str] = (),
    output: Path | None = None,
    timeout: float | None = 300.0,
) -> tuple[Explanation, ...]:
    """Runs two implementations on a case and explains every dtype that both have.

    dtypes: none for all of the case. output: where the traces stay, None for a temporary folder. NothingCompared
    where a side does not come to its end.
    """
    if actual.name == expected.name:
        raise UsageError(f"{actual.name} and {expected.name} are the same implementation: there is nothing to explain")
    missing = [name for name in dtypes if name not in case.dtypes]
    if missing:
        raise ParityError(f"case {case.name} does not run in {missing[0]}; allowed: {', '.join(case.dtypes)}")
    pair = (actual.name, expected.name)
    wanted = [name for name in FORMATS if name in (dtypes or case.dtypes)]
    cells = tuple(Cell(case, dtype, (actual, expected), (pair,)) for dtype in wanted)
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parity-explain-")))
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        progress = execute(Plan(cells, ()), folder, Options(timeout=timeout, keep_traces=True), lambda *_: None)
        failed = [
            f"{outcome.name} on {result.case} in {result.dtype}: {outcome.failure.reason}"
            for result in progress.results
            for outcome in result.outcomes
            if outcome.failure is not None
        ]
        ended = [result.dtype for result in progress.results if all(one.failure is None for one in result.outcomes)]
        if not ended or (dtypes and failed):
            raise NothingCompared(f"nothing to explain: {failed[0] if failed else progress.stopped}")
        libraries = stack.enter_context(Libraries(timeout))
        claims = {one.name: one.convention for one in (actual, expected)}
        found: list[Explanation] = []
        for dtype in ended:
            traces = {name: read_trace(traces_path(folder, case.name, dtype) / name) for name in pair}
            found += explain_cell(case, traces, [pair], claims, libraries, thorough=[pair])
        return tuple(found)


def candidate_of(target: str, timeout: float | None = None) -> Candidate:
    """The one implementation that a target names; ParityError where it names none."""
    shipped = {candidate.name: candidate for candidate in shipped_candidates()}
    if target in shipped:
        return shipped[target]
    check_target(target)
    with tempfile.TemporaryDirectory(prefix="parity-") as logs:
        return describe_plugin(target, Path(logs), timeout)


def _identical(one: Trace, other: Trace) -> bool:
    shared = [name for name in one.quantities if name in other.quantities]
    return all(one.digests[name] == other.digests[name] for name in shared)


def _explanation(
    actual: Standing, expected: Standing, parts: PairSplit, inputs: Inputs, floor: Noise | None, *, differ: bool
) -> Explanation:
    """floor: None where neither it nor ladder and spread are asked for."""
    lr = np.array([expected.trace.hyper.lr_at(step) for step in range(1, inputs.case.steps + 1)])
    in_lr = np.where(lr > 0, parts.total["w"].max_abs / np.where(lr > 0, lr, 1.0), 0.0)
    place = int(np.argmax(in_lr))
    known = actual.known and expected.known
    rungs: tuple[Rung, ...] = ()
    causes: tuple[Cause, ...] = ()
    if differ:
        if known and floor is not None:
            rungs = ladder(actual.adam, expected.adam, expected.trace, inputs)
            known = rungs[-1].differing == 0
        causes = causes_from_ladder(rungs) if rungs and known else causes_from_split(actual, expected, parts, place)
    return Explanation(
        case=inputs.case.name,
        dtype=inputs.format.name,
        actual=_told(actual),
        expected=_told(expected),
        answer=Answer.IDENTICAL if not differ else Answer.EXPLAINED if known else Answer.UNEXPLAINED,
        causes=causes,
        split=_split_rows(parts, lr),
        errors=_error_rows(parts, inputs.case.steps),
        ladder=rungs,
        meaning=Meaning(
            float(in_lr[place]),
            place + 1,
            float(in_lr[-1]),
            None if floor is None else float(floor.weights_steps[place]),
            None if floor is None else float(floor.gradient_steps[place]),
        ),
        spread=() if floor is None else spreads(actual.trace, expected.trace),
    )


def _told(standing: Standing) -> Told:
    convention = standing.adam.twin.convention
    return Told(
        standing.trace.implementation,
        str(standing.source),
        standing.like,
        str(convention.epsilon),
        str(convention.step_count),
        standing.residual,
        standing.left_open,
    )


def shown_steps(steps: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    return [*(1 << power for power in range(steps.bit_length()) if 1 << power < steps), steps]


def _split_rows(parts: PairSplit, lr: np.ndarray) -> tuple[SplitRow, ...]:
    def row(quantity: str, term: str, series: Series, step: int) -> SplitRow:
        place = step - 1
        units = series.max_abs[place] / lr[place] if quantity == "w" and lr[place] > 0 else None
        return SplitRow(
            quantity,
            step,
            term,
            float(series.max_abs[place]),
            float(series.rms[place]),
            float(series.max_ulp[place]),
            float(series.rms_ulp[place]),
            None if units is None else float(units),
            int(series.nonfinite[place]),
        )

    return tuple(
        row(quantity, str(term), series, step)
        for quantity in sorted(parts.terms, key=["w", "m", "v", "vmax"].index)
        for step in shown_steps(len(lr))
        for term, series in (*parts.terms[quantity].items(), ("total", parts.total[quantity]))
    )


def _error_rows(parts: PairSplit, steps: int) -> tuple[ErrorRow, ...]:
    return tuple(
        ErrorRow(
            quantity,
            step,
            *(float(getattr(one[quantity], name)[step - 1])
              for one in (parts.actual_error, parts.expected_error) for name in ("max_ulp", "rms_ulp")),
        )
        for quantity in sorted(parts.terms, key=["w", "m", "v", "vmax"].index)
        for step in shown_steps(steps)
    )  # fmt: skip
