"""The rows of a divergence table, cell by cell, without holding the table in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parity.comparison.divergence import FREE
from parity.core.errors import ParityError
from parity.engine.tables import PARQUET, ROWS_IN_MEMORY

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
    table = table.filter(pc.equal(table["mode"], FREE))
    if not table.num_rows:
        return
    cases, dtypes = (table[name].cast(pa.string()).to_numpy() for name in ("case", "dtype"))
    borders = np.flatnonzero((cases[1:] != cases[:-1]) | (dtypes[1:] != dtypes[:-1])) + 1
    for start, stop in zip([0, *borders], [*borders, table.num_rows], strict=True):
        yield CellRows(cases[start], dtypes[start], table.slice(start, stop - start))


def _whole(parts: list[CellRows]) -> CellRows:
    table = pa.concat_tables(part.table for part in parts).unify_dictionaries()
    return CellRows(parts[0].case, parts[0].dtype, table)
