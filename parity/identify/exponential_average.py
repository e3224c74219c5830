"""An exponential average, m or v: held against what was recorded, run freely where hidden, broken at one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from parity.identify.points import Points, Reading, cast, greatest, roundoff, smaller_formats, smallest, usual_quotient
from parity.numerics.formats import Format

ROUNDINGS = 4.0
"""Of each term: its factor, the factor's rounding, the product, the sum; each of half a unit, and the terms cancel."""


LEAST_STEPS = 4
"""In fewer steps, one step is not an exception."""

Parameters = dict[tuple[int, float], np.ndarray]
"""Indices of the points of each parameter of each probe."""


@dataclass(frozen=True, slots=True)
class Average:
    """Recorded values of an average and what goes into it; arrays are (points,).

    before, after: the average. fresh: what is averaged, its size as `scale` if that is not |fresh| (a difference
    rounds by its terms); loose: error beside that of the rounding.
    b, d: factors expected. format: in which it is computed.
    """

    before: np.ndarray
    after: np.ndarray
    fresh: np.ndarray
    b: np.ndarray
    d: np.ndarray
    format: Format
    scale: np.ndarray | None = None
    loose: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Average:
        """Some of the points."""
        rows = {
            name: None if (array := getattr(self, name)) is None else array[chosen]
            for name in ("before", "after", "fresh", "b", "d", "scale", "loose")
        }
        return replace(self, **rows)  # type: ignore[arg-type]

    @property
    def expected(self) -> np.ndarray:
        """``b * before + d * fresh``."""
        with np.errstate(all="ignore"):
            return np.asarray(self.b * self.before + self.d * self.fresh)

    @property
    def error(self) -> np.ndarray:
        """By how much rounding may move it: units of the terms, and subnormal spacings of every product."""
        with np.errstate(all="ignore"):
            return self._error(np.abs(self.d) * self._size)

    @property
    def _size(self) -> np.ndarray:
        return np.abs(self.fresh) if self.scale is None else self.scale

    def _error(self, term: np.ndarray) -> np.ndarray:
        """By how much rounding may move the average, its fresh term being of that size."""
        u, least = roundoff(self.format), smallest(self.format)
        terms = np.abs(self.b * self.before) + term + np.abs(self.after)
        # beta2 of bfloat16 is 1 and its complement 0.001: half a unit of v itself.
        loose = 0.0 if self.loose is None else self.loose
        return np.asarray(ROUNDINGS * u * terms + 2 * least * (1 + np.sqrt(self._size)) + loose)

    @property
    def _reading_error(self) -> np.ndarray:
        """As `error`, of a factor that is not known: what is recorded bounds the fresh term, too."""
        with np.errstate(all="ignore"):
            shown = (np.abs(self.before) + np.abs(self.after)) * (self._size / np.abs(self.fresh))
            return self._error(np.fmin(np.abs(self.d) * self._size, shown))

    @property
    def wrong(self) -> np.ndarray:
        """Mask of the points that are not what is expected, however it was rounded."""
        with np.errstate(all="ignore"):
            far = ~(np.abs(self.after - self.expected) <= self.error)
            return np.asarray(far & self.judged)

    @property
    def judged(self) -> np.ndarray:
        """Mask of the points that tell something: nothing overflows, and the state before is a number."""
        most = greatest(self.format)
        with np.errstate(all="ignore"):
            return np.asarray(np.isfinite(self.before) & (np.abs(self.fresh) < most) & (np.abs(self.before) < most))

    def consistent(self) -> Reading:
        """The d that agrees with most points where b = 1 - d."""
        with np.errstate(all="ignore"):
            # after - before = d * (fresh - before): only so is b = 1 - d one number to read, not two.
            return usual_quotient(self.after - self.before, self.fresh - self.before, self._reading_error)

    def factor(self) -> Reading:
        """The d that agrees with most points where b is as expected."""
        with np.errstate(all="ignore"):
            return usual_quotient(self.after - self.b * self.before, self.fresh, self._reading_error)

    def decay(self) -> Reading:
        """The b that agrees with most points at which nothing is averaged."""
        still = (self.fresh == 0) & (self.before != 0) & (self.after != self.before)
        some = self.at(still)
        return usual_quotient(some.after, some.before, some.error)


def averaged(points: Points, fresh: np.ndarray, beta: np.ndarray, format: Format) -> tuple[np.ndarray, np.ndarray]:
    """The average of `fresh` after every point's step, and by how much its rounding may have moved it.

    points: of all probes, by step; those without a gradient are left out and keep the average. All are (points,).
    """
    u, least = roundoff(format), smallest(format)
    made, error = np.empty_like(fresh), np.empty_like(fresh)
    for probe in np.unique(points.probe):
        rows = np.flatnonzero(points.probe == probe)
        size = int(points.element[rows].max()) + 1
        now, off = np.zeros(size), np.zeros(size)
        starts = np.searchsorted(points.step[rows], np.unique(points.step[rows]))
        for there in np.split(rows, starts[1:]):
            elements, b = points.element[there], beta[there]
            # Both terms on their own: each is rounded before their sum is.
            old, new = b * now[elements], (1 - b) * fresh[there]
            now[elements] = old + new
            off[elements] = b * off[elements] + 4 * u * (np.abs(old) + np.abs(new)) + 2 * least
            made[there], error[there] = now[elements], off[elements]
    return made, error


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
            if (((bounds.low <= after) & (after <= bounds.high)) | (np.isnan(bounds.low) & np.isnan(after))).all():
                return name, float(steps[0])
        for name, bounds in _changes(loaded, (after - fresh) / average.b[there], parameters, average):
            # Forward, with b: what was loaded is known exactly, its inverse by b only to rounding.
            made = average.b[there] * bounds.low + fresh
            slack = error + 2.0 ** (2 - average.format.precision) * np.abs(bounds.low)
            if ((np.abs(after - made) <= slack) | (np.isnan(made) & np.isnan(after))).all():
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
        distances = [float(np.nansum(np.abs(after[indices] - middle[other]))) for other in alike]
        exchanged[indices] = alike[int(np.argmin(distances))]
    yield "came back in reverse order", bounds.taken(turned)
    yield "was exchanged with that of another parameter of its size", bounds.taken(exchanged)
    yield "came back permuted", bounds.taken(permuted)
