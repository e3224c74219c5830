"""What a case expects of a pair: data with a reason."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
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
    out; WITHIN needs budgets, one for each quantity that both sides show: `within` states them
    (w, m, v, vmax; "*" for those not named), `rounding` derives those that `within` does not state
    from what rounding can do at most (see `parity.budget`): "operations" where both sides form
    their scalars in double and round them once, "scalars" where one of them rounds lr and the betas
    to float32 and takes powers there. nonfinite: NaN or inf is expected in the states. moves: the
    weights are expected to move (false where no gradient asks for it, or where at least one side is
    known to stand still).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    actual: str
    expected: str
    dtypes: tuple[FormatName, ...] = ("float64", "float32", "float16", "bfloat16")
    verdict: Literal["IDENTICAL", "WITHIN", "DIVERGED", "NOT_COMPARABLE", "CRASHED", "SKIPPED"]
    within: dict[Literal["w", "m", "v", "vmax", "*"], Budget] | None = None
    rounding: Literal["operations", "scalars"] | None = None
    nonfinite: bool = False
    moves: bool = True
    because: Annotated[str, Field(min_length=10)]
    link: str | None = None

    @model_validator(mode="after")
    def _budget_belongs_to_within(self) -> Expectation:
        if (self.verdict == "WITHIN") != (self.within is not None or self.rounding is not None):
            raise ValueError("'within' and 'rounding' belong to the verdict WITHIN, and WITHIN needs one")
        return self

    def matches(self, actual: str, expected: str, dtype: str) -> bool:
        """Whether it speaks of this pair in this dtype; no implementation is a pair with itself."""
        return (
            actual != expected
            and dtype in self.dtypes
            and _named(actual, self.actual)
            and _named(expected, self.expected)
        )


def _named(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern.strip()) for pattern in patterns.split("|"))
