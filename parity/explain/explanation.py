"""The noun: why two Adams differ on one case in one dtype, and the proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from parity.core.shown import Shown
from parity.explain.causes import FORMULA, SENTENCES, Cause, Family
from parity.explain.ladder import Rung
from parity.explain.residual import Residual
from parity.explain.spread import Spread


class Answer(StrEnum):
    """IDENTICAL: no bit differs. EXPLAINED: every differing bit is accounted for. UNEXPLAINED: not every one."""

    IDENTICAL = "identical"
    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Told:
    """What one side was taken for: `parity.explain.standing.Source`, its convention, and what the twin leaves.

    left_open: why the claim does not speak of these hyperparameters; empty where it does. broken: elements with other
    bits than a claimed twin has that another took the place of. machine: what of it decides the bits, in words;
    unconfirmed: why nobody has confirmed the claim there, empty where it was. updates: steps times elements in which
    the exact update is not 0; lost: those of them in which the weight did not move. formula: the rule as it was read
    out, lines parted by a line break; empty where the bits of a twin say it, or nobody read.
    """

    implementation: str
    source: str
    like: str
    epsilon: str
    step_count: str
    residual: Residual
    left_open: str = ""
    broken: int = 0
    machine: str = ""
    unconfirmed: str = ""
    updates: int = 0
    lost: int = 0
    formula: str = ""


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One term (or "total") of one quantity after one step.

    max_abs, rms: in the quantity's unit; max_ulp, rms_ulp: in ULP of the dtype at the truth; max_steps: of w, in units
    of lr. nonfinite: elements left out because a side is inf or NaN.
    """

    quantity: str
    step: int
    term: str
    max_abs: float
    rms: float
    max_ulp: float
    rms_ulp: float
    max_steps: float | None
    nonfinite: int


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How far both sides are from the truth of their own conventions after one step, in ULP: who is nearer."""

    quantity: str
    step: int
    actual_max_ulp: float
    actual_rms_ulp: float
    expected_max_ulp: float
    expected_rms_ulp: float


@dataclass(frozen=True, slots=True)
class Meaning:
    """Does it matter? largest: |actual - expected| of w in units of lr, at `step`; last: after the last step.

    noise_weights, noise_gradient: what a change of every initial weight, or of every gradient of the first step, by
    1 ULP makes of w by that step, in units of lr; None where it was not asked for.
    """

    largest: float
    step: int
    last: float
    noise_weights: float | None
    noise_gradient: float | None

    @property
    def noise(self) -> float:
        """The noise floor: the greater of the two; 0 where it was not asked for."""
        return max(self.noise_weights or 0.0, self.noise_gradient or 0.0)

    @property
    def ratio(self) -> float | None:
        """The difference over the noise floor; None without one."""
        return self.largest / self.noise if self.noise > 0 else None


@dataclass(frozen=True, slots=True)
class Explanation(Shown):
    """Why `actual` differs from `expected`; steps of the rows: 1, 2, 4, ... and the last.

    ladder, spread: empty where the bits are the same, or where they were left out.
    """

    case: str
    dtype: str
    actual: Told
    expected: Told
    answer: Answer
    causes: tuple[Cause, ...]
    split: tuple[SplitRow, ...]
    errors: tuple[ErrorRow, ...]
    ladder: tuple[Rung, ...]
    meaning: Meaning
    spread: tuple[Spread, ...] = ()

    @property
    def explained(self) -> bool:
        """Whether no differing bit is left without a named cause."""
        return self.answer is not Answer.UNEXPLAINED

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        if self.answer is Answer.IDENTICAL:
            return "identical: every bit of every step is the same"
        named = ", ".join(_named(self.causes))
        formula = {cause.family for cause in self.causes if cause.share != 0} & FORMULA
        if self.answer is Answer.EXPLAINED:
            which = "not the same Adam" if formula else "the same Adam, rounded differently"
            return f"{which}; every differing bit is accounted for by {named}"
        left = [told.implementation for told in (self.actual, self.expected) if told.residual.differing]
        which = "not the same Adam: " if formula else ""
        return f"{which}{named} of the difference of w; bits of {' and '.join(left)} are not accounted for"

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        told = _EXPLANATION.dump_python(self, include=_AS_THEY_ARE)
        return {
            **told,
            "verdict": str(self.answer),
            "explained": self.explained,
            "sentence": self.sentence,
            "causes": [cause.to_json() for cause in self.causes],
            "ladder": [rung.to_json() for rung in self.ladder],
            "meaning": {**told["meaning"], "ratio": self.meaning.ratio},
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Explanation:
        """The inverse of `to_json`."""
        ladder = [Rung.from_json(one) for one in fields["ladder"]]
        return _EXPLANATION.validate_python({**fields, "answer": fields["verdict"], "ladder": ladder})


_EXPLANATION = TypeAdapter(Explanation)
_AS_THEY_ARE = {"case", "dtype", "actual", "expected", "split", "errors", "meaning", "spread"}


def _named(causes: tuple[Cause, ...]) -> Iterator[str]:
    """Families with their shares, those of one family added up, the smallest left out."""
    for family in dict.fromkeys(cause.family for cause in causes):
        shares = [cause.share for cause in causes if cause.family is family and cause.share is not None]
        if not shares:
            yield str(family)
        elif sum(shares) >= 0.005:
            yield f"{family} ({percent(min(1.0, sum(shares)))})"


def percent(share: float) -> str:
    """A share in percent; never 0 or 100 for what is not."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return "<1%" if share < 0.01 else ">99%" if share > 0.99 else f"{share:.0%}"


def sentence_of(family: Family) -> str:
    """What a family means."""
    return SENTENCES[family]
