"""Step size and epsilon of every step, read out of how weights moved: a straight line per probe and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parity.identify.points import roundoff, smallest
from parity.identify.update_forms import Form, Moves, nesterov_moment
from parity.numerics.formats import Format

TELLING = 0.1
"""A change of which rounding leaves less than a tenth open is read."""

DEVIATIONS = 5.0
"""Standard errors by which a reading may be off: rounding errors of one step are not independent."""

SCALARS = 8.0
"""Half units by which the numbers of one step, shared by all its points, may be off."""

SPARE = 1e-12
"""What the solution of the equations may lose in double precision."""

FEWEST = 3
"""Points from which two numbers are read."""


class Kind(NamedTuple):
    """Forms that are one straight line: ``y = A x - E``, y of v, x of m over the change.

    root: y is sqrt(v), else v; squared: x and A are; ahead: m looks one step ahead; inside: v + eps stands there, with
    the eps that is asked.
    """

    forms: tuple[Form, ...]
    root: bool = True
    squared: bool = False
    ahead: bool = False
    inside: bool = False


KINDS = (
    Kind((Form.OUTSIDE, Form.HAT)),
    Kind((Form.INSIDE,), root=False, squared=True),
    Kind((Form.NO_ROOT,), root=False),
    Kind((Form.TWICE,), inside=True),
    Kind((Form.NESTEROV, Form.NESTEROV_HAT), ahead=True),
)


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read at every probe and step; arrays are (cells,).

    at: index of a point of the cell. size, size_error: A (not squared) and by how much it may be off, relatively;
    epsilon, epsilon_error: E. fit: share of points that lie on the line.
    """

    at: np.ndarray
    size: np.ndarray
    size_error: np.ndarray
    epsilon: np.ndarray
    epsilon_error: np.ndarray
    fit: np.ndarray

    def at_cells(self, chosen: np.ndarray) -> Readings:
        """Some of the cells."""
        return Readings(*(getattr(self, name)[chosen] for name in self.__slots__))


def readings(moves: Moves, kind: Kind, format: Format, apart: np.ndarray) -> Readings:
    """A and E of every probe and step, by least squares in which every point counts by its rounding.

    apart: (points,), numbers that are whole and not negative; points at which they differ may have other step sizes.
    """
    u, least = roundoff(format), smallest(format)
    with np.errstate(all="ignore"):
        m, m_error = (nesterov_moment(moves, moves.seen), moves.m_error) if kind.ahead else (moves.m, moves.m_error)
        change = moves.w0 - moves.w1
        relative = (
            (moves.w_error + 2 * u * np.abs(moves.w1) + least) / np.abs(change) + m_error / np.abs(m)
            + least / np.abs(m) + 6 * u
        )  # fmt: skip
        v = moves.v + (moves.eps * (1 - moves.beta2**moves.seen) if kind.inside else 0.0)
        x, y = m / change, np.sqrt(v) if kind.root else v
        loose = (moves.v_error + 2 * least) / v * (0.5 if kind.root else 1.0) + 2 * u
        if kind.squared:
            x, relative = x**2, 2 * relative
        usable = np.isfinite(x) & np.isfinite(y) & (relative < TELLING) & (loose < TELLING) & (y > 0) & (x != 0)
    keys = (moves.probe * (moves.step.max() + 1) + moves.step) * (apart.max() + 1) + apart
    cells, cell_of = np.unique(keys, return_inverse=True)
    first = np.zeros(len(cells), np.int64)
    first[cell_of[::-1]] = np.arange(len(keys))[::-1]
    places = np.flatnonzero(usable)
    x, y, cell = x[places], y[places], cell_of[places]
    relative, loose = relative[places], loose[places]
    size = epsilon = np.zeros(len(cells))
    errors = np.zeros((3, len(cells)))
    weight_of, kept = y * (relative + loose), np.ones(len(places), bool)
    medians = _Medians.by(cell, len(cells))
    for _ in range(4):
        with np.errstate(all="ignore"):
            size, epsilon, errors = _line(x, y, np.where(kept, 1 / weight_of**2, 0.0), cell, len(cells))
            weight_of = np.abs(size[cell] * x) * relative + y * loose
            off = np.abs(y - size[cell] * x + epsilon[cell]) / weight_of
            # What does not lie on the line of most does not count in the next round.
            kept = off <= np.maximum(10.0, 3 * medians.of(off)[cell])
    with np.errstate(all="ignore"):
        lies = np.bincount(cell, off <= SCALARS, len(cells)) / np.bincount(cell, minlength=len(cells))
        size_error = DEVIATIONS * errors[0] / np.abs(size)
        if kind.squared:
            size, size_error = np.sqrt(size), size_error / 2
    counted = np.bincount(cell, kept, len(cells)) >= FEWEST
    known = counted & np.isfinite(size) & np.isfinite(size_error) & (size != 0)
    found = Readings(
        first, size, size_error + SCALARS * u + SPARE, epsilon,
        DEVIATIONS * errors[1] + (SCALARS * u + SPARE) * (np.abs(epsilon) + np.abs(errors[2])), lies,
    )  # fmt: skip
    return found.at_cells(np.flatnonzero(known))


def _line(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, cell: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A and E of ``y = A x - E`` in every cell; (3, cells): their standard errors, and the mean of y."""
    with np.errstate(all="ignore"):
        usable = np.isfinite(weight)
        weight = np.where(usable, weight, 0.0)

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(cell, np.where(usable, weight * values, 0.0), cells)

        w, wx, wy, wxx = total(np.ones_like(x)), total(x), total(y), total(x * x)
        # About the means: else x*x and x cancel.
        mean_x, mean_y = wx / w, wy / w
        sxx = total((x - mean_x[cell]) ** 2)
        sxy = total((x - mean_x[cell]) * (y - mean_y[cell]))
        size = sxy / sxx
        errors = np.stack([np.sqrt(1 / sxx), np.sqrt(wxx / (w * sxx)), mean_y])
        return size, size * mean_x - mean_y, errors


class _Medians(NamedTuple):
    """Tables of cells of about one size, a row for each: the cells, how many points each has, and whose points stand
    where, (rows,), (rows,) and two of (points of them,).
    """

    cells: int
    tables: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]

    @staticmethod
    def by(cell: np.ndarray, cells: int) -> _Medians:
        """Of points in cells, by number."""
        numbers = np.bincount(cell, minlength=cells)
        # Of integers of two bytes, the stable sort is by digits.
        order = np.argsort(cell.astype(np.min_scalar_type(cells)), kind="stable")
        ordered = cell[order]
        within = np.arange(len(cell)) - (np.cumsum(numbers) - numbers)[ordered]
        # Up to the next power of two, so that most of a table is in use; 0 of an empty cell.
        size = np.frexp(numbers)[1]
        tables = []
        for one in np.unique(size[size > 0]).tolist():
            rows, there = np.flatnonzero(size == one), size[ordered] == one
            place = np.searchsorted(rows, ordered[there]) * int(numbers[rows].max()) + within[there]
            tables.append((rows, numbers[rows], order[there], place))
        return _Medians(cells, tuple(tables))

    def of(self, values: np.ndarray) -> np.ndarray:
        """The upper median of every cell, 0 of an empty one; NaN is greater than any number."""
        made = np.zeros(self.cells)
        for rows, numbers, points, place in self.tables:
            table = np.full(len(rows) * int(numbers.max()), np.nan)
            table[place] = values[points]
            table = np.sort(table.reshape(len(rows), -1), axis=1)
            made[rows] = table[np.arange(len(rows)), numbers // 2]
        return made
