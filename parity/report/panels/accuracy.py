"""How far every implementation is from the exact Adam of its own convention."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.engine.accounts import Twins, dtypes_of, twin_rows
from parity.engine.record import Run


@dataclass(frozen=True, slots=True)
class Error:
    """An implementation in one dtype: its error in ULP, and the length of the bar that shows it, 0 to 1."""

    twins: Twins
    bar: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors by implementation and dtype; the bars of a dtype are logarithmic, from its least error to its greatest."""

    dtypes: tuple[str, ...]
    rows: dict[str, dict[str, Error]]


def accuracy(run: Run) -> Accuracy:
    """Of every implementation that was held against a twin; no rows where nothing was explained."""
    found = twin_rows(run)
    dtypes = dtypes_of(run)
    scales = {}
    for dtype in dtypes:
        errors = [one.by_dtype[dtype].error_ulp for one in found if dtype in one.by_dtype]
        scales[dtype] = [error for error in errors if error > 0 and math.isfinite(error)]
    return Accuracy(
        dtypes,
        {
            one.implementation: {
                dtype: Error(twins, _bar(twins.error_ulp, scales[dtype])) for dtype, twins in one.by_dtype.items()
            }
            for one in found
        },
    )


def _bar(error: float, scale: list[float]) -> float:
    if not scale or error <= 0:
        return 0.0
    if not math.isfinite(error):
        return 1.0
    # A decade below the least error, so that it too has a bar.
    low, high = math.log10(min(scale)) - 1, math.log10(max(scale))
    return round((math.log10(error) - low) / (high - low), 3)
