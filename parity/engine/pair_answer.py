"""Everything there is to say of one pair of a cell."""

from __future__ import annotations

from dataclasses import dataclass

from parity.case.expectation import Expectation, Kind
from parity.comparison.allowance import Allowance, smallest_allowance
from parity.comparison.distance import Distance
from parity.comparison.parting import Parting, partings_of
from parity.comparison.verdict import Verdict
from parity.engine.plan import Cell
from parity.engine.result import CellResult, PairResult, Why, judge_pair


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """One pair: how it stands, where its quantities part, what would let it pass, and why it differs.

    allowance: None where no budget is in question.
    why: None where it was not explained.
    """

    case: str
    dtype: str
    steps: int
    actual: str
    expected: str
    verdict: Verdict
    distances: tuple[Distance, ...]
    partings: tuple[Parting, ...]
    allowance: Allowance | None
    why: Why | None

    @property
    def compared(self) -> int:
        """Elements compared, over all quantities and steps."""
        return sum(distance.compared for distance in self.distances)


def pair_answer(cell: Cell, result: CellResult, actual: str, expected: str) -> PairAnswer:
    """The answer on a pair, which the result holds."""
    pair = next(one for one in result.pairs if (one.actual, one.expected) == (actual, expected))
    expectation = cell.case.expectation_for(actual, expected, cell.dtype)
    verdict = judge_pair(result, pair, expectation)
    defaults = next(one.defaults for one in cell.candidates if one.name == expected)
    whys = (one for one in result.account.pairs if (one.actual, one.expected) == (actual, expected))
    return PairAnswer(
        case=cell.case.name,
        dtype=cell.dtype,
        steps=cell.case.steps,
        actual=actual,
        expected=expected,
        verdict=verdict,
        distances=pair.distances,
        partings=partings_of(pair.distances, cell.dtype, cell.case.hyper_for(defaults)),
        allowance=_allowance(result, pair, verdict, expectation),
        why=next(whys, None),
    )


def _allowance(
    result: CellResult, pair: PairResult, verdict: Verdict, expectation: Expectation | None
) -> Allowance | None:
    """Only for a pair that ran to its end, should have been equal or near, and is neither."""
    if expectation is None or verdict.wanted not in (Kind.IDENTICAL, Kind.WITHIN):
        return None
    if verdict.as_expected and verdict.kind is not Kind.DIVERGED:
        return None
    actual, expected = result.outcome(pair.actual), result.outcome(pair.expected)
    if pair.steps != result.steps or actual.failure is not None or expected.failure is not None:
        return None
    return smallest_allowance(pair.distances, (actual.moved, expected.moved), expectation, reaches=expected.reaches)
