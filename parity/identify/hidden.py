"""Moments that a target hides, from its gradients: the one place where an orbit runs freely."""

from __future__ import annotations

import numpy as np

from parity.identify.points import Points, roundoff, smallest
from parity.numerics.formats import Format


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
            old, new = b * now[elements], (1 - b) * fresh[there]
            now[elements] = old + new
            off[elements] = b * off[elements] + 4 * u * (np.abs(old) + np.abs(new)) + 2 * least
            made[there], error[there] = now[elements], off[elements]
    return made, error
