"""One pair in one cell, looked at closely: curves, worst elements and why they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.engine.explanations import read_document
from parity.engine.record import PairVerdict, Run
from parity.engine.result import CellResult
from parity.engine.run import explanations_path
from parity.explain.explanation import Explanation
from parity.explain.headlines import DTYPES
from parity.report.panels.curve import Curves, curves_of
from parity.report.panels.element import Element, worst_elements
from parity.report.panels.rows import read_cells

MOST_UNEXPLAINED = 300
"""Views up to which every pair is looked at closely where no headline pairs were written down."""

Pair = tuple[str, str]
Cells = Mapping[tuple[str, str], Mapping[Pair, Explanation | None]]
"""By case and dtype, the pairs to look at, with what explains them."""


@dataclass(frozen=True, slots=True)
class View:
    """One pair in one cell. explanation: None where none was kept."""

    judged: PairVerdict
    distances: tuple[Distance, ...]
    curves: Curves
    elements: tuple[Element, ...]
    explanation: Explanation | None

    @property
    def size(self) -> float:
        """The largest difference of w, in units of lr."""
        found = (one.worst_max_steps for one in self.distances if one.quantity == "w")
        return max((float(one.value) for one in found if one is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class PairViews:
    """The views of a pair, by dtype and case; shown: the place of that to begin with, of median size.

    Where nothing differs there is no view, and shown is None.
    """

    views: tuple[View, ...]
    shown: int | None


def read_views(run: Run, folder: Path) -> dict[Pair, PairViews]:
    """Of pairs of which whole explanations are kept, else of all of a small run, wherever something differs.

    ParityError where a file of the run directory is missing, altered or of another schema.
    """
    cells = _explained(run, folder) or _all_of_a_small_run(run)
    verdicts = {(one.case, one.dtype, one.actual, one.expected): one for one in run.verdicts}
    results = {(cell.case, cell.dtype): cell for cell in run.cells}
    found: dict[Pair, list[View]] = defaultdict(list)
    for rows in read_cells(folder) if cells else ():
        key = (rows.case, rows.dtype)
        for pair, explanation in cells.get(key, {}).items():
            distances = _distances(results[key], pair)
            found[pair] += []
            if any(one.differing for one in distances):
                mine = rows.pair(*pair)
                view = View(verdicts[*key, *pair], distances, curves_of(mine), worst_elements(mine), explanation)
                found[pair].append(view)
    return {pair: _ordered(views) for pair, views in found.items()}


def _ordered(views: Sequence[View]) -> PairViews:
    """float32 first, then by precision; in a dtype as the run has the cases."""
    if not views:
        return PairViews((), None)
    ordered = sorted(views, key=lambda view: DTYPES.index(view.judged.dtype))
    first = [view for view in ordered if view.judged.dtype == ordered[0].judged.dtype]
    by_size = sorted(range(len(first)), key=lambda place: first[place].size)
    return PairViews(tuple(ordered), by_size[len(by_size) // 2])


def _explained(run: Run, folder: Path) -> Cells:
    return {
        (cell.case, cell.dtype): {
            (one.actual.implementation, one.expected.implementation): one for one in _explanations(cell, folder)
        }
        for cell in run.cells
        if cell.account.explanations
    }


def _explanations(cell: CellResult, folder: Path) -> Iterator[Explanation]:
    path = explanations_path(folder, f"{cell.case} {cell.dtype}")
    return map(Explanation.from_json, read_document(path, cell.account.explanations).explanations)


def _all_of_a_small_run(run: Run) -> Cells:
    if len(run.verdicts) > MOST_UNEXPLAINED:
        return {}
    cells: dict[tuple[str, str], dict[Pair, Explanation | None]] = defaultdict(dict)
    for one in run.verdicts:
        if one.verdict.kind not in (Kind.SKIPPED, Kind.CRASHED):
            cells[one.case, one.dtype][one.actual, one.expected] = None
    return cells


def _distances(cell: CellResult, pair: Pair) -> tuple[Distance, ...]:
    return next((one.distances for one in cell.pairs if (one.actual, one.expected) == pair), ())
