"""The rows of a divergence table, cell by cell, without holding the table in memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.divergence import OPEN
from parity.core.errors import ParityError
from parity.engine.explanations import read_document
from parity.engine.record import PairVerdict, Run
from parity.engine.result import CellResult
from parity.engine.run import explanations_path
from parity.engine.tables import PARQUET, ROWS_IN_MEMORY
from parity.explain.explanation import Explanation
from parity.explain.headlines import DTYPES
from parity.report.panels.curve import Curves, curves_of

COLUMNS = (
    "case", "dtype", "mode", "actual", "expected", "quantity", "parameter", "step", "differing", "max_abs", "max_rel",
    "max_ulp", "max_steps", "worst_index", "actual_value", "expected_value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CellRows:
    """The rows of one cell, in the order in which they were written."""

    case: str
    dtype: str
    table: pa.Table

    def pair(self, actual: str, expected: str) -> pa.Table:
        """The rows of one pair."""
        table = self.table
        return table.filter(pc.and_(pc.equal(table["actual"], actual), pc.equal(table["expected"], expected)))


def read_cells(folder: Path) -> Iterator[CellRows]:
    """Every cell of a run directory's table; ParityError where it is missing or cannot be read."""
    path = folder / PARQUET
    pending: list[CellRows] = []
    try:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_IN_MEMORY, columns=list(COLUMNS)):
            for found in _split(pa.Table.from_batches([batch])):
                if pending and (pending[0].case, pending[0].dtype) != (found.case, found.dtype):
                    yield _whole(pending)
                    pending = []
                pending.append(found)
    except (pa.ArrowException, OSError) as error:
        raise ParityError(f"{path}: missing, altered or truncated ({' '.join(str(error).split())})") from None
    if pending:
        yield _whole(pending)


def _split(table: pa.Table) -> Iterator[CellRows]:
    """A part of the table at the borders of its cells."""
    table = table.filter(pc.equal(table["mode"], OPEN))
    if not table.num_rows:
        return
    cases, dtypes = (table[name].cast(pa.string()).to_numpy() for name in ("case", "dtype"))
    borders = np.flatnonzero((cases[1:] != cases[:-1]) | (dtypes[1:] != dtypes[:-1])) + 1
    for start, stop in zip([0, *borders], [*borders, table.num_rows], strict=True):
        yield CellRows(cases[start], dtypes[start], table.slice(start, stop - start))


def _whole(parts: list[CellRows]) -> CellRows:
    table = pa.concat_tables(part.table for part in parts).unify_dictionaries()
    return CellRows(parts[0].case, parts[0].dtype, table)


MOST_A_QUANTITY = 3

QUANTITY_ORDER = ("w", "m", "v", "vmax", "average")


@dataclass(frozen=True, slots=True)
class Element:
    """Where one quantity of one parameter is farthest apart.

    step: 1-based; index: flat, in the parameter; actual, expected: hex floats; ulp: in the stored dtype. lr: the
    difference in units of lr, for w; absolute: None where NaN or inf stands on a side.
    """

    quantity: str
    parameter: str
    index: int
    step: int
    actual: str
    expected: str
    ulp: int
    absolute: float | None
    lr: float | None


def worst_elements(rows: pa.Table) -> tuple[Element, ...]:
    """Of one pair's rows, those of the parameters that are farthest apart in ULP, quantity by quantity."""
    parted = rows.filter(pc.greater(rows["differing"], 0))
    quantities, parameters = (parted[name].cast(pa.string()).to_numpy() for name in ("quantity", "parameter"))
    ulps = parted["max_ulp"].to_numpy()
    places: list[int] = []
    for quantity in QUANTITY_ORDER:
        mine = np.flatnonzero(quantities == quantity)
        # Stable: of equal distances the earliest step comes first.
        falling = mine[np.argsort(-ulps[mine].astype(np.float64), kind="stable")]
        _, first = np.unique(parameters[falling].astype(str), return_index=True)
        places += falling[np.sort(first)[:MOST_A_QUANTITY]].tolist()
    return tuple(_element(row) for row in parted.take(places).to_pylist()) if places else ()


def _element(row: Mapping[str, Any]) -> Element:
    return Element(
        quantity=row["quantity"],
        parameter=row["parameter"],
        index=row["worst_index"],
        step=row["step"],
        actual=row["actual_value"],
        expected=row["expected_value"],
        ulp=row["max_ulp"],
        absolute=_finite(row["max_abs"]),
        lr=_finite(row["max_steps"]),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


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
