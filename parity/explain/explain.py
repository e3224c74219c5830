"""Verbs: explain pairs of traces, or run two implementations and explain them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.adam.machine import unconfirmed
from parity.case.case import Case
from parity.comparison.trace import Trace, read_trace
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.core.hyper import Hyper
from parity.engine.plan import Candidate, Cell, Plan
from parity.engine.result import Failure
from parity.engine.run import Options, execute, traces_path
from parity.explain.accounting import causes_from_ladder, causes_from_split
from parity.explain.causes import Cause
from parity.explain.explanation import Answer, ErrorRow, Explanation, Meaning, SplitRow, Told
from parity.explain.inputs import BLOCK, Inputs
from parity.explain.ladder import Climb, Rung, ladders
from parity.explain.libraries import Libraries
from parity.explain.noise import Noise, noise
from parity.explain.running import in_steps, units_of
from parity.explain.split import PairSplit, Question, Series, Updates, quantities_of, split
from parity.explain.spread import spreads
from parity.explain.standing import Standing, standing_of
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import FORMATS, in_format, widest

OnFailure = Callable[[str, str, Failure], None]
"""Called with an implementation, the case and dtype, and why it did not come to its end there."""

Deepen = Callable[[Explanation, Mapping[str, Trace]], Explanation]
"""What is known of an explanation besides, while the traces are there; by the names of both."""


def explain_cell(
    case: Case,
    traces: Mapping[str, Trace],
    pairs: Sequence[tuple[str, str]],
    claims: Mapping[str, str | None],
    libraries: Libraries,
    *,
    thorough: Collection[tuple[str, str]],
    brief: Collection[tuple[str, str]] = (),
) -> tuple[Explanation, ...]:
    """Explains pairs of one case in one dtype; every residual, oracle and mixture is made once for all of them.

    traces, claims (the place of epsilon that is stated, or None): by name. thorough: the pairs that also get ladder,
    noise floor and spread, which take free runs or another pass. brief: those that get answer, causes and meaning, of
    the rows only those of w after the last step. ParityError where a trace answers another question.
    """
    if not pairs:
        return ()
    inputs = Inputs(case, traces[pairs[0][0]].format)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    standings = {name: standing_of(traces[name], claims.get(name), inputs, libraries) for name in names}
    parted = [_Parted(standings[a], standings[b], _apart(traces[a], traces[b])) for a, b in pairs]
    answers = split([_question(one, case.steps, brief=pair in brief) for pair, one in zip(pairs, parted, strict=True)],
                    inputs)  # fmt: skip
    deeper = [pair for pair, one in zip(pairs, parted, strict=True) if one.differs and pair in thorough]
    worst = {pair: one.worst for pair, one in zip(pairs, parted, strict=True)}
    floors = {
        name: noise(standings[name].adam, inputs, {worst[pair] for pair in deeper if pair[1] == name})
        for name in dict.fromkeys(expected for _, expected in deeper)
    }
    plain = {name for name, one in standings.items() if one.plain and one.known}
    climbed = [pair for pair in deeper if plain.issuperset(pair)]
    rungs = dict(zip(climbed, ladders([Climb(standings[a].adam, standings[b].adam, traces[b]) for a, b in climbed],
                                      inputs), strict=True))  # fmt: skip
    return tuple(
        _explanation(one, answer, inputs, floors[pair[1]][one.worst] if pair in deeper else None, rungs.get(pair, ()))
        for pair, one, answer in zip(pairs, parted, answers, strict=True)
    )


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
    on_failure: OnFailure = lambda name, place, failure: None,
    deepen: Deepen = lambda one, traces: one,
) -> tuple[Explanation, ...]:
    """Runs two implementations on a case and explains every dtype that both have.

    dtypes: none for all of the case. output: where the traces stay, None for a temporary folder. on_failure: is called
    with whoever does not come to its end; NothingCompared where there is one in every dtype. deepen: says more of an
    explanation.
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
        failed = []
        for result in progress.results:
            for outcome in result.outcomes:
                if outcome.failure is not None:
                    place = f"{result.case} in {result.dtype}"
                    failed.append(f"{outcome.name} on {place}: {outcome.failure.reason}")
                    on_failure(outcome.name, place, outcome.failure)
        ended = [result.dtype for result in progress.results if all(one.failure is None for one in result.outcomes)]
        if not ended:
            raise NothingCompared(f"nothing to explain: {failed[0] if failed else progress.stopped}")
        libraries = stack.enter_context(Libraries(timeout))
        for one in (actual, expected):
            if one.roots:
                libraries.admit(one.name, one.target)
        claims = {one.name: one.convention for one in (actual, expected)}
        found: list[Explanation] = []
        for dtype in ended:
            traces = {name: read_trace(traces_path(folder, case.name, dtype) / name) for name in pair}
            told = explain_cell(case, traces, [pair], claims, libraries, thorough=[pair])
            found += (deepen(one, traces) for one in told)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Parted:
    """A pair, and how far its weights are apart after every step, in units of lr; differs: whether a bit does."""

    actual: Standing
    expected: Standing
    apart: np.ndarray

    @property
    def differs(self) -> bool:
        one, other = self.actual.trace, self.expected.trace
        return any(_differs(one, other, name) for name in one.quantities if name in other.quantities)

    @property
    def worst(self) -> int:
        """The step after which they are furthest apart."""
        return int(np.argmax(self.apart)) + 1


def _differs(one: Trace, other: Trace, quantity: str) -> bool:
    """Whether a number does; rows of two widths have other digests in any case."""
    if one.digests[quantity] == other.digests[quantity]:
        return False
    if one.stored(quantity) is other.stored(quantity):
        return True
    wide = widest((one.stored(quantity), other.stored(quantity)))
    rows = zip(one.array(quantity), other.array(quantity), strict=True)
    return any(not np.array_equal(in_format(left, wide), in_format(right, wide)) for left, right in rows)


def _apart(actual: Trace, expected: Trace) -> np.ndarray:
    lr = units_of(expected.hyper, range(1, expected.steps + 1))
    one, other = actual.array("w"), expected.array("w")
    height = max(1, BLOCK // max(1, one.shape[1]))
    found = []
    for first in range(1, expected.steps + 1, height):
        rows = slice(first, first + height)
        found.append(in_steps(one[rows].astype(np.float64), other[rows].astype(np.float64), lr[first - 1 :][:height]))
    return np.concatenate(found)


def _question(pair: _Parted, steps: int, *, brief: bool) -> Question:
    """What is asked of a pair: of w where it is furthest apart and at the end, or of everything that is shown."""
    sides = pair.actual.side, pair.expected.side
    shown = [steps] if brief else shown_steps(steps)
    quantities = quantities_of(*sides)
    return Question(*sides, ("w",) if brief else quantities, tuple(sorted({pair.worst, *shown})))


def _explanation(
    pair: _Parted, parts: PairSplit, inputs: Inputs, floor: Noise | None, rungs: tuple[Rung, ...]
) -> Explanation:
    """floor: None where neither it nor ladder and spread are asked for."""
    actual, expected = pair.actual, pair.expected
    known = actual.known and expected.known and (not rungs or rungs[-1].differing == 0)
    causes: tuple[Cause, ...] = ()
    if pair.differs:
        causes = (
            causes_from_ladder(rungs) if rungs and known else causes_from_split(actual, expected, parts, pair.worst)
        )
    return Explanation(
        case=inputs.case.name,
        dtype=inputs.format.name,
        actual=_told(actual, parts.updates[0]),
        expected=_told(expected, parts.updates[1]),
        answer=Answer.IDENTICAL if not pair.differs else Answer.EXPLAINED if known else Answer.UNEXPLAINED,
        causes=causes,
        split=_split_rows(parts, expected.trace.hyper),
        errors=_error_rows(parts),
        ladder=rungs,
        meaning=Meaning(
            float(pair.apart[pair.worst - 1]),
            pair.worst,
            float(pair.apart[-1]),
            None if floor is None else floor.weights,
            None if floor is None else floor.gradient,
        ),
        spread=() if floor is None else spreads(actual.trace, expected.trace),
    )


def _told(standing: Standing, updates: Updates) -> Told:
    convention = standing.adam.twin.convention
    name, machine = standing.known_as, standing.machine
    return Told(
        standing.trace.implementation,
        str(standing.source),
        standing.like,
        str(convention.epsilon),
        str(convention.step_count),
        standing.residual,
        standing.left_open,
        standing.broken,
        machine.told(name),
        unconfirmed(name, machine),
        *updates,
    )


def shown_steps(steps: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    return [*(1 << power for power in range(steps.bit_length()) if 1 << power < steps), steps]


def _shown(parts: PairSplit) -> Iterator[tuple[str, int, int]]:
    """Quantity, step, and its place in the series, of every row; the last of `steps` is that of the run."""
    for quantity in sorted(parts.terms, key=["w", "m", "v", "vmax", "average"].index):
        for step in shown_steps(parts.steps[-1]):
            if step in parts.steps:
                yield quantity, step, parts.steps.index(step)


def _split_rows(parts: PairSplit, hyper: Hyper) -> tuple[SplitRow, ...]:
    def row(quantity: str, term: str, series: Series, step: int, place: int) -> SplitRow:
        lr = hyper.lr_at(step)
        units = series.max_abs[place] / lr if quantity == "w" and lr > 0 else None
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
        row(quantity, str(term), series, step, place)
        for quantity, step, place in _shown(parts)
        for term, series in (*parts.terms[quantity].items(), ("total", parts.total[quantity]))
    )


def _error_rows(parts: PairSplit) -> tuple[ErrorRow, ...]:
    return tuple(
        ErrorRow(
            quantity,
            step,
            *(float(getattr(one[quantity], name)[place])
              for one in (parts.actual_error, parts.expected_error) for name in ("max_ulp", "rms_ulp")),
        )
        for quantity, step, place in _shown(parts)
    )  # fmt: skip
