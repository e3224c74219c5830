"""What a case expects of a pair: data with a reason."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Kind(StrEnum):
    """How two implementations stand to each other in one case and dtype."""

    IDENTICAL = "IDENTICAL"
    WITHIN = "WITHIN"
    EXPLAINED = "EXPLAINED"
    DIVERGED = "DIVERGED"
    NOT_COMPARABLE = "NOT_COMPARABLE"
    CRASHED = "CRASHED"
    SKIPPED = "SKIPPED"


ANY = "ANY"
"""The expectation of a pair that is held and reported, whichever way it comes out."""

Rounding = Literal["operations", "scalars", "betas", "store", "moments"]
"""Where two runs of one formula may round differently.

operations: in every operation; scalars (lr, bias corrections) are formed in double and rounded once.
scalars: there, and one side rounds lr and the betas to float32 and takes powers there. betas: as
scalars, and 1 - beta of the moments is formed from betas so rounded, or rounded to the dtype. store:
in float32, and once more when m, v and w are stored. moments: as operations for m and v, and no
statement about w, as between formulas that differ in epsilon only.
"""

Formula = Literal[
    "epsilon-placement", "epsilon-value", "epsilon-underflow", "bias-correction", "step-count", "hyperparameter-value",
    "weight-decay", "gradient-scale", "gradient-clip", "schedule", "amsgrad", "sparse-rows", "none-gradient",
    "state-storage", "restart", "weight-average", "non-finite", "nondeterminism",
]  # fmt: skip
"""Families of causes that are more than rounding, as `parity explain` names them."""

Quantity = Literal["w", "m", "v", "vmax", "average", "*"]
FormatName = Literal["float64", "float32", "float16", "bfloat16"]
Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Budget(BaseModel):
    """The most that one quantity may differ at any step; every limit that is given has to hold.

    max_abs, rms_abs: in units of the quantity. max_rel: relative to the expected value. max_ulp,
    p99_ulp: units in the last place of the stored dtype. max_steps: of the weights, in units of lr.
    differing: number of elements that differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    differing: Limit | None = None
    max_abs: Limit | None = None
    max_rel: Limit | None = None
    max_ulp: Limit | None = None
    p99_ulp: Limit | None = None
    rms_abs: Limit | None = None
    max_steps: Limit | None = None

    def limits(self) -> dict[str, float]:
        """The limits that are given, by the name of their metric."""
        return {name: value for name, value in self if value is not None}

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if not self.limits():
            raise ValueError("a budget has to limit at least one metric")
        return self


class Expectation(BaseModel):
    """The verdict that pairs have to get, and why.

    actual, expected: names or shell patterns of implementations, alternatives parted by ``|``;
    every pair they match is compared. dtypes: where it holds. verdict: the kind that has to come
    out, ANY for a pair that is only reported (with `rounding`: which may be no further apart than that unless it is
    EXPLAINED); EXPLAINED where both sides equal their twins bit for bit,
    whatever they differ by, or with budgets inside of them; WITHIN needs budgets, one for each quantity that both sides
    show, and is met by EXPLAINED inside of them: `within`
    states them (w, m, v, vmax; "*" for those not named), `rounding` derives those that `within` does not
    state from what rounding can do at most (see `parity.case.budget`).
    unbounded: quantities for which nobody can promise a limit, so that DIVERGED in them alone is as
    expected too; `rounding` fills it in. nonfinite: NaN or inf may occur in the states. moves: the
    weights of both sides have to move; false says that at least one side stands still. restates: it
    speaks only of pairs that a later expectation names too, and adds none. skips: a side may be SKIPPED, with the
    reason. causes: by what two of one formula may differ here beside `rounding`, as where eps is 0 in the dtype.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    actual: str
    expected: str
    dtypes: tuple[FormatName, ...] = ("float64", "float32", "float16", "bfloat16")
    verdict: Literal["IDENTICAL", "WITHIN", "EXPLAINED", "DIVERGED", "NOT_COMPARABLE", "CRASHED", "SKIPPED", "ANY"]
    within: dict[Quantity, Budget] | None = None
    rounding: Rounding | None = None
    unbounded: tuple[str, ...] = ()
    nonfinite: bool = False
    moves: bool = True
    restates: bool = False
    skips: bool = False
    causes: tuple[Formula, ...] = ()
    because: Annotated[str, Field(min_length=10)]
    link: str | None = None

    @model_validator(mode="after")
    def _budget_belongs_to_within(self) -> Expectation:
        if self.verdict == "EXPLAINED" or (self.verdict == ANY and self.within is None):
            return self
        if (self.verdict == "WITHIN") != (self.within is not None or self.rounding is not None):
            raise ValueError("'within' and 'rounding' belong to the verdict WITHIN, and WITHIN needs one")
        return self

    def speaks_of(self, actual: str, dtype: str) -> bool:
        """Whether it says what has to become of this implementation in this dtype."""
        return dtype in self.dtypes and _named(actual, self.actual)

    def expects(self, expected: str) -> bool:
        """Whether it holds what it speaks of against this implementation."""
        return _named(expected, self.expected)


@cache
def _named(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern.strip()) for pattern in patterns.split("|"))
