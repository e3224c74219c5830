"""How far apart two orbits are, step by step, thinned to what a chart can show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

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
