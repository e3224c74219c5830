"""Numbers read out of many elements at once: each bounds the number, and all together pin it down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from parity.numerics.formats import FORMATS, Format
from parity.numerics.rounding import round_to

DIGITS = 6
"""A number with so few significant digits is believed to have been typed."""


class Reading(NamedTuple):
    """An interval in which a number lies."""

    low: float
    high: float

    @property
    def empty(self) -> bool:
        """No number agrees with all elements, or any great one does."""
        return not (self.low <= self.high and np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def middle(self) -> float:
        """The best estimate."""
        return self.low + (self.high - self.low) / 2

    def holds(self, value: float) -> bool:
        """Whether a number agrees with all elements."""
        return self.low <= value <= self.high

    def named(self, candidates: Iterable[float] = ()) -> float:
        """The first candidate it holds, else its shortest decimal of few digits, else the middle."""
        for candidate in candidates:
            if self.holds(candidate):
                return candidate
        for digits in range(1, DIGITS + 1):
            short = float(f"{self.middle:.{digits}g}")
            if self.holds(short):
                return short
        return self.middle


def intersection(low: np.ndarray, high: np.ndarray) -> Reading:
    """The numbers that lie in all intervals, NaN bounds left out; empty where none does or nothing bounds it."""
    usable = ~(np.isnan(low) | np.isnan(high))
    if not usable.any():
        return Reading(np.inf, -np.inf)
    return Reading(float(low[usable].max()), float(high[usable].min()))


def quotient(numerator: np.ndarray, denominator: np.ndarray, error: np.ndarray) -> Reading:
    """The x for which ``|numerator - x * denominator| <= error`` everywhere; a zero denominator bounds nothing."""
    with np.errstate(all="ignore"):
        center, radius = numerator / denominator, np.abs(error / denominator)
        bounded = np.isfinite(center) & np.isfinite(radius)
        return intersection(np.where(bounded, center - radius, np.nan), np.where(bounded, center + radius, np.nan))


def cast(values: np.ndarray, format: Format) -> np.ndarray:
    """Numbers as a format would keep them, as doubles."""
    with np.errstate(all="ignore"):
        return round_to(np.asarray(values, np.float64), format).astype(np.float64)


def smaller_formats(format: Format) -> tuple[Format, ...]:
    """Formats of lower precision, the most precise first."""
    return tuple(one for one in FORMATS.values() if one.precision < format.precision)


def lossy_formats(format: Format) -> tuple[Format, ...]:
    """Formats that do not hold every number of a format: of lower precision or of a smaller range."""
    return tuple(
        one for one in FORMATS.values() if one.precision < format.precision or one.exponent_bits < format.exponent_bits
    )
