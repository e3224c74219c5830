"""How far apart two orbits are by step, by magnitude and by part, thinned to what a chart can show."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from parity.explain.explanation import Explanation
from parity.explain.spread import ZERO, Spread, exponent_of
from parity.numerics.formats import Format
from parity.numerics.ulp import NO_DISTANCE

METRICS = ("max_ulp", "max_steps", "max_abs", "max_rel")

MOST_STEPS = 40
"""Steps of a curve that are spread evenly over the logarithm of the step; a few that matter come on top."""

DIGITS = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one quantity, the greatest over all parameters, at the steps of its `Curves`.

    values: None where NaN or inf stands on a side, so that no distance is meant.
    """

    quantity: str
    metric: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves of a pair in a cell over the same 1-based steps; first: the earliest step with a difference."""

    steps: tuple[int, ...]
    first: int | None
    curves: tuple[Curve, ...]


def curves_of(rows: pa.Table) -> Curves:
    """The curves of one pair; kept are the first divergence, the worst and the last step of everything."""
    quantities, steps = rows["quantity"].cast(pa.string()).to_numpy(), rows["step"].to_numpy()
    differing = rows["differing"].to_numpy()
    if not len(steps):
        return Curves((), None, ())
    last, lines, kept = int(steps.max()), [], set(spread_steps(int(steps.max())))
    for quantity in sorted(set(quantities)):
        mine = quantities == quantity
        kept |= set(steps[mine & (differing > 0)][:1].tolist())
        for metric in METRICS:
            if metric == "max_steps" and quantity != "w":
                continue
            line = _line(steps[mine], _figures(rows[metric], mine), last)
            kept.add(int(np.argmax(line)) + 1)
            lines.append((quantity, metric, line))
    chosen = sorted(kept)
    parted = steps[differing > 0]
    return Curves(
        steps=tuple(chosen),
        first=int(parted.min()) if len(parted) else None,
        curves=tuple(
            Curve(quantity, metric, tuple(_number(line[step - 1]) for step in chosen))
            for quantity, metric, line in lines
        ),
    )


def spread_steps(last: int) -> tuple[int, ...]:
    """At most `MOST_STEPS` steps from 1 to `last`, evenly spread over the logarithm."""
    if last <= MOST_STEPS:
        return tuple(range(1, last + 1))
    return tuple(sorted({round(step) for step in np.geomspace(1, last, MOST_STEPS).tolist()}))


def _figures(column: pa.ChunkedArray, mine: np.ndarray) -> np.ndarray:
    """The metric as float64, inf where no distance is meant."""
    values = column.to_numpy()[mine]
    if values.dtype == np.uint64:
        return np.where(values == NO_DISTANCE, np.inf, values.astype(np.float64))
    return np.where(np.isnan(values), np.inf, values)


def _line(steps: np.ndarray, values: np.ndarray, last: int) -> np.ndarray:
    line = np.zeros(last)
    np.maximum.at(line, steps - 1, values)
    return line


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


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


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the terms of w, by term, at 1-based steps: rms of the term over the sum of those of all; 0 to 1."""

    steps: tuple[int, ...]
    by_term: dict[str, tuple[float, ...]]


def shares_of(explanation: Explanation) -> Shares:
    """Terms that are nowhere more than 0; no steps where nothing was split."""
    rms = {(row.term, row.step): row.rms for row in explanation.split if row.quantity == "w" and row.term != "total"}
    terms = tuple(dict.fromkeys(term for term, _ in rms))
    steps = tuple(sorted({step for _, step in rms}))
    totals = {step: sum(rms[term, step] for term in terms) for step in steps}
    found = {term: tuple(_share(rms[term, step], totals[step]) for step in steps) for term in terms}
    return Shares(steps, {term: row for term, row in found.items() if any(row)})


def _share(part: float, total: float) -> float:
    return float(f"{part / total:.{DIGITS}g}") if total > 0 else 0.0
