"""AMSGrad: of what the maximum is taken, and whether it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from parity.identify.answer import Finding
from parity.identify.points import Points
from parity.identify.rule import Rule
from parity.identify.update import Moves
from parity.numerics.formats import Format


def maximum(points: Points, moves: Moves, rule: Rule, format: Format) -> tuple[Finding | None, bool]:
    """The departure of a probe under AMSGrad, and whether its points are explained.

    points, moves: of that probe, those with a gradient, by step.
    """
    shown = not np.isnan(points.x1).all()
    c2 = rule.scale(moves).c2
    for finding, v, error in _kinds(points, moves, c2, shown):
        if not rule.wrong(replace(moves, v=v, v_error=error), format).any():
            return finding, True
    return None, False


def _kinds(
    points: Points, moves: Moves, c2: np.ndarray, shown: bool
) -> Iterator[tuple[Finding | None, np.ndarray, np.ndarray]]:
    kept = points.x1 if shown else running(points, moves.v)
    with np.errstate(all="ignore"):
        expected = np.maximum(points.x0, moves.v) if shown else kept
        agrees = (np.abs(kept - expected) <= moves.v_error) | (kept == expected) | ~np.isfinite(expected)
    if agrees.all():
        yield None, kept, moves.v_error
    with np.errstate(all="ignore"):
        corrected = running(points, moves.v / c2)
        yield (
            Finding("amsgrad", "the maximum is that of v after its bias correction", {"vmax": "max(vmax, v / c2)"}),
            corrected * c2,
            moves.v_error + 2.0**-50 * corrected * c2,
        )
    if not shown:
        detail = "AMSGrad is asked for and not done"
    elif (kept == 0).all():
        detail = "the maximum is taken and not stored"
    else:
        detail = "the update takes v, not its maximum"
    yield Finding("amsgrad", detail, {"vmax": "not used"}), moves.v, moves.v_error
    if shown:
        detail = "the maximum that is stored is not that of v"
        yield Finding("amsgrad", detail, {"vmax": "stored"}), kept, moves.v_error


def running(points: Points, values: np.ndarray) -> np.ndarray:
    """Maximum of the values of an element so far, (points,), from 0 on."""
    most = np.zeros(int(points.element.max()) + 1)
    made = np.empty_like(values)
    for step in np.unique(points.step):
        there = np.flatnonzero(points.step == step)
        elements = points.element[there]
        most[elements] = np.maximum(most[elements], values[there])
        made[there] = most[elements]
    return made
