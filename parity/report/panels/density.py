"""How many elements are apart by how much, by their magnitude, thinned to what a chart can show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from parity.explain.spread import ZERO, Spread, exponent_of
from parity.numerics.formats import Format

MOST_COLUMNS = 32


@dataclass(frozen=True, slots=True)
class Density:
    """Elements of one quantity, of all steps, by column and distance.

    starts: of every column but those of zeros and of inf and NaN, the power of two at which it begins, evenly spaced.
    cells: (column, distance as in `Spread`, elements); column: a place in `starts`, or one of the two constants.
    """

    quantity: str
    starts: tuple[int, ...]
    cells: tuple[tuple[int, int, int], ...]


ZEROS = -1
ENDLESS = -2


def density_of(spread: Spread, format: Format) -> Density:
    """Neighbouring powers of two share a column where there are more than `MOST_COLUMNS`."""
    top = (1 << format.exponent_bits) - 1
    exponents = [exponent_of(size, format) for size, _, _ in spread.rows if ZERO < size < top]
    low, high = min(exponents, default=0), max(exponents, default=-1)
    width = -(-(high - low + 1) // MOST_COLUMNS) or 1
    counts: Counter[tuple[int, int]] = Counter()
    for size, distance, elements in spread.rows:
        inside = (exponent_of(size, format) - low) // width
        counts[ZEROS if size == ZERO else ENDLESS if size == top else inside, distance] += elements
    return Density(
        spread.quantity,
        tuple(range(low, high + 1, width)),
        tuple((*place, elements) for place, elements in sorted(counts.items())),
    )


def histogram_of(spread: Spread) -> dict[int, int]:
    """Elements by distance, whatever their magnitude."""
    counts: Counter[int] = Counter()
    for _, distance, elements in spread.rows:
        counts[distance] += elements
    return dict(counts)
