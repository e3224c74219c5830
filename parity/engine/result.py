"""What came out of a cell, as it is kept in a run directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from parity.case.case import RESTARTED
from parity.case.expectation import Expectation, Kind
from parity.comparison.distance import Distance, Reach
from parity.comparison.verdict import Verdict, judge, judge_failure
from parity.core.state import QUANTITIES
from parity.engine.protocol import SKIPPING_KINDS
from parity.numerics.formats import format_named, widest


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an implementation did not reach the end; kind as in the protocol, step 0 where no step was asked for.

    traceback: where it raised; empty where it did not, and in run.json.
    """

    kind: str
    reason: str
    step: int
    traceback: str = field(default="", compare=False, repr=False)

    @property
    def verdict(self) -> Kind:
        """What it makes of the pairs of this implementation."""
        return Kind.SKIPPED if self.kind in SKIPPING_KINDS else Kind.CRASHED


@dataclass(frozen=True, slots=True)
class Outcome:
    """One implementation in one cell.

    hyper: what it was asked for, as hex floats. quantities: those it shows. moved: whether a weight
    ever left its initial value. nonfinite: NaN or inf elements in its last state. digests: of the
    bits of its last state, by quantity. reaches: of its last state, by quantity. failure: None where
    it ran to the end. formats: by quantity and parameter, where it is not the cell's dtype.
    """

    name: str
    hyper: dict[str, Any]
    quantities: tuple[str, ...]
    moved: bool
    nonfinite: int
    digests: dict[str, str]
    reaches: tuple[Reach, ...]
    failure: Failure | None
    formats: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairResult:
    """The distances of one pair in one cell, one per quantity that both sides show; none where none was compared."""

    actual: str
    expected: str
    steps: int
    distances: tuple[Distance, ...] = ()

    @property
    def first_step(self) -> int | None:
        """The earliest with a difference in any quantity."""
        return min((one.first.step for one in self.distances if one.first is not None), default=None)

    @property
    def weights(self) -> Distance | None:
        """The distance of w; None where none was compared."""
        return next((one for one in self.distances if one.quantity == "w"), None)


@dataclass(frozen=True, slots=True)
class Held:
    """An implementation held against its twin, each step made from the recorded one before.

    source: where the twin comes from: claimed; found; replaced, where the claimed one no longer fits and another does;
    or only a convention. covered: empty, or why the claim does
    not hold for this question. compared, differing: numbers of all quantities and steps; max_ulp: the largest
    difference. error_ulp: root of the mean square error of w after the last step, in ULP, against the exact Adam of
    its own convention. replaced: elements in which a claimed twin differed that another took the place of. machine:
    the instruction set and threads in force. unconfirmed: why nobody has confirmed the claim there; empty where it was.
    updates: steps times elements in which the exact update is not 0; lost: those in which the weight did not move.
    """

    implementation: str
    source: str
    covered: str
    compared: int
    differing: int
    max_ulp: int
    error_ulp: float
    replaced: int = 0
    machine: str = ""
    unconfirmed: str = ""
    updates: int = 0
    lost: int = 0

    @property
    def broken(self) -> int:
        """Elements that are other bits than the claim says, for no reason that it gives; 0 where nothing is claimed."""
        if self.source == "replaced":
            return self.replaced
        return self.differing if self.source == "claimed" and not self.covered else 0


EXPLAINED = "explained"
"""The answer on a pair both sides of which equal their twins bit for bit."""

SAMPLED = "explained on a sample"
"""The answer on a pair both sides of which do so on those elements that were looked at."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a pair differs: identical, explained (on a sample), or unexplained; causes with their shares, largest first.

    formula: those of them that are more than rounding, however small their share.
    """

    actual: str
    expected: str
    answer: str
    sentence: str
    families: tuple[tuple[str, float | None], ...]
    formula: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """What explains a cell.

    reason: why it was not explained, empty where it was. explanations: digest of the file that holds the whole
    explanations of its headline pairs, empty where there is none. sampled: on how many elements it was explained, 0 for
    all.
    """

    held: tuple[Held, ...] = ()
    pairs: tuple[Why, ...] = ()
    reason: str = "not asked for"
    explanations: str = ""
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """Everything a cell leaves but its table.

    key: digest of what determines it; a cell with the same key need not be run again. compared:
    elements times steps over all pairs and quantities. stages: what stands around the step in its case, by name.
    """

    key: str
    case: str
    dtype: str
    steps: int
    parameters: int
    elements: int
    input_digest: str
    outcomes: tuple[Outcome, ...]
    pairs: tuple[PairResult, ...]
    rows: int
    environments: dict[str, dict[str, object]]
    account: Account = Account()
    stages: tuple[str, ...] = ()

    def outcome(self, name: str) -> Outcome:
        """That of an implementation by name."""
        return next(outcome for outcome in self.outcomes if outcome.name == name)

    def compared_in(self, pair: PairResult, quantity: str) -> dict[str, str]:
        """The dtype in which parameters of a pair are compared, where it is not the cell's: the wider of both sides."""
        sides = [self.outcome(name).formats.get(quantity, {}) for name in (pair.actual, pair.expected)]
        names = dict.fromkeys(name for side in sides for name in side)
        wider = {name: widest(format_named(side.get(name, self.dtype)) for side in sides).name for name in names}
        return {name: dtype for name, dtype in wider.items() if dtype != self.dtype}

    @property
    def compared(self) -> int:
        """Elements compared: over all pairs, quantities and steps."""
        return sum(distance.compared for pair in self.pairs for distance in pair.distances)


def judge_pair(cell: CellResult, pair: PairResult, expectation: Expectation | None) -> Verdict:
    """The verdict on a pair of a cell: a failure of either side first, then its distances."""
    for side in (pair.actual, pair.expected):
        failure = cell.outcome(side).failure
        if failure is not None:
            return judge_failure(failure.verdict, f"{side}: {failure.reason}", expectation)
    actual, expected = cell.outcome(pair.actual), cell.outcome(pair.expected)
    if pair.steps != cell.steps:
        reason = f"{pair.steps} of {cell.steps} steps were compared"
        return judge_failure(Kind.NOT_COMPARABLE, reason, expectation)
    return judge(
        pair.distances,
        (actual.moved, expected.moved),
        expectation,
        reaches=expected.reaches,
        one_sided=[one for one in QUANTITIES if (one in actual.quantities) != (one in expected.quantities)],
        formula=_formula(cell, pair),
        suspected=_suspected(cell, pair),
        unexplained=_unexplained(cell, pair),
    )


def _formula(cell: CellResult, pair: PairResult) -> tuple[str, ...] | None:
    """By what formulas differ, where both sides equal their twins; what a restart lost is no twin's."""
    why = _why(cell, pair)
    return why.formula if why is not None and why.answer == EXPLAINED and not pair.actual.endswith(RESTARTED) else None


def _suspected(cell: CellResult, pair: PairResult) -> tuple[str, ...]:
    """By what formulas a pair differs on a sample: it differs by them in the whole, too."""
    why = _why(cell, pair)
    return why.formula if why is not None and why.answer == SAMPLED else ()


def _unexplained(cell: CellResult, pair: PairResult) -> str:
    """Why nobody says that both sides equal their twins."""
    why = _why(cell, pair)
    return cell.account.reason if why is None else why.sentence.removesuffix(".")


def _why(cell: CellResult, pair: PairResult) -> Why | None:
    names = (pair.actual, pair.expected)
    return next((one for one in cell.account.pairs if (one.actual, one.expected) == names), None)
