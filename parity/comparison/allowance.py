"""The smallest budget under which a pair would be as expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.expectation import Budget, Expectation, Kind
from parity.comparison.distance import Distance, Reach
from parity.comparison.verdict import judge
from parity.numerics.ulp import NO_DISTANCE


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits by quantity and metric; refusal: why no budget would do, empty where this one does."""

    within: dict[str, dict[str, float]]
    refusal: str = ""


def smallest_allowance(
    distances: Sequence[Distance],
    moved: tuple[bool, bool],
    expectation: Expectation,
    *,
    reaches: Sequence[Reach] = (),
) -> Allowance | None:
    """In the metrics that the expectation limits, and in ULP where it limits none; None where nothing differs.

    Arguments as those of `parity.comparison.verdict.judge`, which has the last word: a budget that it would not take
    is refused with its reason.
    """
    differing = [distance for distance in distances if distance.differing]
    if not differing:
        return None
    within = {distance.quantity: _limits(distance, expectation) for distance in differing}
    if not all(math.isfinite(limit) for limits in within.values() for limit in limits.values()):
        nonfinite = sum(distance.nonfinite for distance in differing)
        return Allowance({}, f"{nonfinite:,} elements are NaN or inf on one side")
    budgets = {quantity: Budget.model_validate(limits) for quantity, limits in within.items()}
    equal = {distance.quantity: Budget(differing=0) for distance in distances if not distance.differing}
    changed = {"verdict": "WITHIN", "within": {**budgets, **equal}, "rounding": None, "unbounded": ()}
    verdict = judge(distances, moved, expectation.model_copy(update=changed), reaches=reaches)
    if verdict.kind is Kind.WITHIN and verdict.as_expected:
        return Allowance(within)
    return Allowance({}, verdict.reason.partition("; from step")[0])


def _limits(distance: Distance, expectation: Expectation) -> dict[str, float]:
    """The worst of every metric that is limited."""
    budgets: dict[str, Budget] = dict(expectation.within or {})  # type: ignore[arg-type]
    budget = budgets.get(distance.quantity) or budgets.get("*")
    worsts = {metric: distance.worst(metric) for metric in (budget.limits() if budget else ())}
    found = {metric: worst.value for metric, worst in worsts.items() if worst is not None}
    found = found or {"max_ulp": distance.worst_max_ulp.value}
    return {metric: _at_least(value) for metric, value in found.items()}


def _at_least(value: float | int) -> float:
    """The value as a float that is not below it; inf for the mark of NaN or inf."""
    if value == NO_DISTANCE:
        return math.inf
    limit = float(value)
    return limit if limit >= value else math.nextafter(limit, math.inf)
