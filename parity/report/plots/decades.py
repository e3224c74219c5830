"""A logarithmic axis on which zero and NaN have places of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ZERO, LOST = "0", "NaN/inf"

MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Decades:
    """The axis from 10**low to 10**high; zero lies below, what is no number above, where there is any."""

    low: int
    high: int
    numbers: bool
    zero: bool
    lost: bool

    @property
    def gap(self) -> float:
        """From the last decade to what lies outside."""
        return 0.12 * (self.high - self.low)

    @property
    def limits(self) -> tuple[float, float]:
        """Where the axis begins and ends."""
        return self.low - self.gap * (1.6 if self.zero else 0.3), self.high + self.gap * (1.6 if self.lost else 0.3)

    def place(self, value: float | None) -> float:
        """Where a value is drawn."""
        if value is None or not math.isfinite(value):
            return self.high + self.gap
        return math.log10(value) if value > 0 else self.low - self.gap

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Places with their labels, upwards."""
        if self.zero:
            yield self.place(0.0), ZERO
        if self.numbers:
            stride = math.ceil((self.high - self.low) / MOST_TICKS)
            for decade in range(self.low, self.high + 1, stride):
                yield decade, power_text(decade)
        if self.lost:
            yield self.place(None), LOST


def decades_of(values: Iterable[float | None]) -> Decades:
    """The axis that has a place for each of them; None, NaN and inf are no numbers."""
    found = list(values)
    finite = [value for value in found if value is not None and math.isfinite(value)]
    logs = [math.log10(value) for value in finite if value > 0]
    low, high = (math.floor(min(logs)), math.ceil(max(logs))) if logs else (0, 1)
    return Decades(low, max(high, low + 1), bool(logs), len(logs) < len(finite), len(finite) < len(found))


def power_text(decade: int) -> str:
    """A power of ten."""
    return f"{10.0**decade:g}" if -3 <= decade <= 3 else f"1e{decade}"
