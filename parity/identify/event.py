"""Something that happened to a moment at one step only, as at a resume: reset, cast, permuted, exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.identify.average import Average
from parity.identify.points import Points
from parity.identify.reading import cast, smaller_formats

LEAST_STEPS = 4
"""In fewer steps, one step is not an exception."""

Parameters = dict[tuple[int, float], np.ndarray]
"""Indices of the points of each parameter of each probe."""


class _Bounds(NamedTuple):
    """Between what a moment lies, each (points of the step,)."""

    low: np.ndarray
    high: np.ndarray

    def taken(self, order: np.ndarray) -> _Bounds:
        """With the elements in another order."""
        return _Bounds(self.low[order], self.high[order])


def event(points: Points, average: Average, wrong: np.ndarray) -> tuple[str, float] | None:
    """What happened, and at which step; None where it was at more than one step, or is none of the known events.

    wrong: mask of the points that do not follow. What happened to a moment after it was stored shows in that step's
    own result; what happened to it before it was used again, in the next.
    """
    steps = np.unique(points.step[wrong])
    if len(steps) != 1 or points.step.max() < LEAST_STEPS:
        return None
    there = np.flatnonzero((points.step == steps[0]) & np.isin(points.probe, np.unique(points.probe[wrong])))
    after, error = average.after[there], average.error[there]
    parameters = _parameters(points, there)
    with np.errstate(all="ignore"):
        stored = _Bounds(average.expected[there] - error, average.expected[there] + error)
        fresh = (average.d * average.fresh)[there]
        loaded = _Bounds(average.before[there], average.before[there])
        for name, bounds in _changes(stored, after, parameters, average):
            if ((bounds.low <= after) & (after <= bounds.high)).all():
                return name, float(steps[0])
        for name, bounds in _changes(loaded, (after - fresh) / average.b[there], parameters, average):
            made = average.b[there] * bounds.low + fresh
            slack = error + 2.0 ** (2 - average.format.precision) * np.abs(bounds.low)
            if (np.abs(after - made) <= slack).all():
                return name, float(steps[0])
    return None


def _parameters(points: Points, there: np.ndarray) -> Parameters:
    keys = list(zip(points.probe[there].tolist(), points.place[there].tolist(), strict=True))
    found: dict[tuple[int, float], list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return {key: np.array(indices) for key, indices in found.items()}


def _changes(
    bounds: _Bounds, after: np.ndarray, parameters: Parameters, average: Average
) -> Iterator[tuple[str, _Bounds]]:
    """Names of changes and what they make of a moment; after: what it is known to have become."""
    yield "was 0", _Bounds(0 * bounds.low, 0 * bounds.high)
    for format in smaller_formats(average.format):
        yield f"went through {format.name}", _Bounds(cast(bounds.low, format), cast(bounds.high, format))
    order = np.arange(len(after))
    turned, permuted, exchanged = order.copy(), order.copy(), order.copy()
    middle = (bounds.low + bounds.high) / 2
    for (probe, _), indices in parameters.items():
        turned[indices] = indices[::-1]
        ranks = np.argsort(np.argsort(after[indices], kind="stable"), kind="stable")
        permuted[indices] = indices[np.argsort(middle[indices], kind="stable")][ranks]
        alike = [other for (one, _), other in parameters.items() if one == probe and len(other) == len(indices)]
        distances = [float(np.abs(after[indices] - middle[other]).sum()) for other in alike]
        exchanged[indices] = alike[int(np.argmin(distances))]
    yield "came back in reverse order", bounds.taken(turned)
    yield "was exchanged with that of another parameter of its size", bounds.taken(exchanged)
    yield "came back permuted", bounds.taken(permuted)
