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


Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Budget(BaseModel):
    """The most that one quantity may differ at any step; every limit that is given has to hold.

    max_abs, rms_abs: in units of the quantity. max_rel: relative to the expected value. max_ulp,
    p99_ulp: units in the last place of the stored dtype. max_steps: of the weights, in units of lr.
    differing: number of elements that differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    actual, expected: names or shell patterns of implementations; every pair they match is compared.
    dtypes: where it holds. verdict: the kind that has to come out; WITHIN needs `within`, a budget
    for each quantity that both sides show (w, m, v, vmax; "*" for those not named). nonfinite: NaN
    or inf is expected in the states. moves: the weights are expected to move (false where no
    gradient asks for it, or where it is known that an implementation stands still).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    actual: str
    expected: str
    dtypes: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
    verdict: Literal["IDENTICAL", "WITHIN", "DIVERGED", "NOT_COMPARABLE", "CRASHED", "SKIPPED"]
    within: dict[Literal["w", "m", "v", "vmax", "*"], Budget] | None = None
    nonfinite: bool = False
    moves: bool = True
    because: Annotated[str, Field(min_length=10)]
    link: str | None = None

    @model_validator(mode="after")
    def _budget_belongs_to_within(self) -> Expectation:
        if (self.verdict == "WITHIN") != (self.within is not None):
            raise ValueError("'within' belongs to the verdict WITHIN, and WITHIN needs it")
        return self

    def matches(self, actual: str, expected: str, dtype: str) -> bool:
        """Whether it speaks of this pair in this dtype."""
        return (
            dtype in self.dtypes
            and fnmatchcase(actual, self.actual)
            and fnmatchcase(expected, self.expected)
        )
