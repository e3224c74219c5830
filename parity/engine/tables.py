"""Divergence tables on disk: written part by part, merged without holding them in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from parity.comparison.divergence import schema
from parity.core.digest import digest_of_file
from parity.core.errors import ParityError

ROWS_IN_MEMORY = 50_000

PARQUET = "divergence.parquet"
CSV = "divergence.csv"


class TableWriter:
    """A parquet file that appears whole, under its name, when the block ends without an exception."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._beside = path.with_name(f".{path.name}.tmp")
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def __enter__(self) -> TableWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(self._beside, schema(), compression="zstd")
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self.rows += table.num_rows
        if self._pending_rows >= ROWS_IN_MEMORY:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._file.close()
        if kind is None:
            self._beside.replace(self.path)
        else:
            self._beside.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._pending:
            self._file.write_table(pa.concat_tables(self._pending).unify_dictionaries())
        self._pending, self._pending_rows = [], 0


def merge_tables(parts: Iterable[Path], folder: Path) -> int:
    """Join part files into divergence.parquet and divergence.csv; the number of rows."""
    rows = 0
    csv_beside = folder / f".{CSV}.tmp"
    with TableWriter(folder / PARQUET) as whole, pa.csv.CSVWriter(csv_beside, _plain_schema()) as text:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(ROWS_IN_MEMORY):
                table = pa.Table.from_batches([batch]).cast(schema())
                whole.write(table)
                text.write_table(table.cast(_plain_schema()))
                rows += table.num_rows
    csv_beside.replace(folder / CSV)
    return rows


def check_table(path: Path, rows: int) -> None:
    """ParityError where a part file cannot be read or does not hold so many rows."""
    try:
        held = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise ParityError(f"{path}: altered or truncated ({' '.join(str(error).split())}); remove it") from None
    if held != rows:
        raise ParityError(f"{path}: altered, {held} rows where {rows} were written; remove it")


def check_whole_table(folder: Path, digest: str, rows: int) -> None:
    """ParityError where a run directory's table is missing, or is not the one its run wrote.

    digest: empty for a run that recorded none, whose table is known by its rows.
    """
    path = folder / PARQUET
    try:
        found = digest_of_file(path) if digest else ""
        held = rows if digest else pq.read_metadata(path).num_rows
    except FileNotFoundError:
        raise ParityError(f"{path}: missing; 'parity run --resume' with the same words writes it again") from None
    except (pa.ArrowException, OSError) as error:
        raise ParityError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if found != digest:
        raise ParityError(f"{path}: altered, truncated or of another run (its digest is not the one the run recorded)")
    if held != rows:
        raise ParityError(f"{path}: altered or of another run ({held:,} rows, the run has {rows:,})")


def _plain_schema() -> pa.Schema:
    """The same columns with strings in place of dictionaries, which a CSV file cannot hold."""
    return pa.schema(
        [pa.field(one.name, pa.string() if pa.types.is_dictionary(one.type) else one.type) for one in schema()]
    )
