"""Divergence tables on disk: written part by part, merged without holding them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from parity.comparison.distance import WORST_METRICS, Distance, First, Worst
from parity.comparison.divergence import schema
from parity.core.digest import digest_of_file
from parity.core.errors import ParityError

ROWS_IN_MEMORY = 50_000

PARQUET = "divergence.parquet"
CSV = "divergence.csv"


class TableWriter:
    """A parquet file that appears whole, under its name, when the block ends without an exception.

    columns: other ones than those of a divergence table.
    """

    def __init__(self, path: Path, columns: pa.Schema | None = None) -> None:
        self.path, self.rows, self._columns = path, 0, columns or schema()
        self._beside = path.with_name(f".{path.name}.tmp")
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def __enter__(self) -> TableWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(self._beside, self._columns, compression="zstd")
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
    """Join part files into divergence.parquet; the number of rows."""
    rows = 0
    with TableWriter(folder / PARQUET) as whole:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(ROWS_IN_MEMORY):
                whole.write(pa.Table.from_batches([batch]).cast(schema()))
                rows += batch.num_rows
    return rows


def write_csv(folder: Path) -> None:
    """Write divergence.csv, the rows of divergence.parquet as text."""
    beside = folder / f".{CSV}.tmp"
    with pa.csv.CSVWriter(beside, _plain_schema()) as text:
        for batch in pq.ParquetFile(folder / PARQUET).iter_batches(ROWS_IN_MEMORY):
            text.write_table(pa.Table.from_batches([batch]).cast(_plain_schema()))
    beside.replace(folder / CSV)


Place = tuple[str, str, str, str]
"""Case, dtype, actual and expected."""


def read_distances(path: Path, opposite_zeros: Mapping[tuple[str, ...], int]) -> dict[Place, tuple[Distance, ...]]:
    """The rows of a table folded to one distance for each quantity of a pair, in the order of the table.

    opposite_zeros: the one figure that has no column, by place and quantity, where it is not 0.
    """
    file = pq.ParquetFile(path)
    if not file.metadata.num_rows:
        return {}
    blocks = _Blocks(file)
    totals = {name: blocks.total(name) for name in ("elements", "differing", "nonfinite")}
    worsts = {name: blocks.worst(name) for name in WORST_METRICS}
    firsts = blocks.firsts()
    found: dict[Place, list[Distance]] = {}
    for at, (*place, quantity) in enumerate(blocks.names):
        worst: dict[str, Any] = {f"worst_{name}": values[at] for name, values in worsts.items()}
        if quantity != "w":
            worst["worst_max_steps"] = None
        found.setdefault(tuple(place), []).append(
            Distance(
                quantity=quantity,
                compared=totals["elements"][at],
                differing=totals["differing"][at],
                nonfinite=totals["nonfinite"][at],
                opposite_zeros=opposite_zeros.get((*place, quantity), 0),
                first=firsts[at],
                **worst,
            )
        )
    return {place: tuple(distances) for place, distances in found.items()}


class _Blocks:
    """A table read column by column, for memory: its blocks, and which of them make up a quantity of a pair.

    A block is a stretch of rows of one quantity and parameter of one pair, whose steps ascend; within a pair blocks
    stand in the order of steps, those of equal steps in the order of parameters. names: of the groups of blocks.
    """

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        keys = [self._column(name) for name in ("case", "dtype", "actual", "expected", "quantity", "parameter")]
        codes = [key.indices.to_numpy() for key in keys]
        changes = np.logical_or.reduce([code[1:] != code[:-1] for code in codes])
        self._starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        self._rows = file.metadata.num_rows
        of_block = np.stack([code[self._starts] for code in codes[:-1]])
        _, first, group = np.unique(of_block, axis=1, return_index=True, return_inverse=True)
        # Groups in the order in which they first stand in the table.
        rank = np.empty_like(first)
        rank[np.argsort(first)] = np.arange(len(first))
        group = rank[group.reshape(-1)]
        self._order = np.argsort(group, kind="stable")
        self._groups = np.searchsorted(group[self._order], np.arange(len(first)))
        words = [key.dictionary.to_pylist() for key in keys]
        self.names = [
            tuple(word[code] for word, code in zip(words, block, strict=False))
            for block in of_block[:, np.sort(first)].T.tolist()
        ]
        self._parameters, self._parameter = words[-1], codes[-1]
        self._steps = self._column("step").to_numpy()

    def _column(self, name: str) -> pa.Array:
        column = self._file.read([name]).unify_dictionaries()[name].combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column

    def total(self, name: str) -> list[int]:
        """The sum of a column over each group."""
        blocks = np.add.reduceat(self._column(name).to_numpy(), self._starts)
        sums: list[int] = np.add.reduceat(blocks[self._order], self._groups).tolist()
        return sums

    def worst(self, name: str) -> list[Worst]:
        """The greatest value of a column in each group, at its first step and there at the first parameter."""
        values = self._column(name).fill_null(-1.0).to_numpy() if name == "max_steps" else self._column(name).to_numpy()
        tops = np.maximum.reduceat(values, self._starts)
        rows = self._first_of_blocks(values == np.repeat(tops, self._lengths(self._starts, self._rows)))
        greatest = np.maximum.reduceat(tops[self._order], self._groups)
        rows = self._first_of_groups(rows, tops[self._order] == np.repeat(greatest, self._group_lengths()))
        return [
            Worst(value, step, self._parameters[parameter])
            for value, step, parameter in zip(
                greatest.tolist(), self._steps[rows].tolist(), self._parameter[rows].tolist(), strict=True
            )
        ]

    def firsts(self) -> list[First | None]:
        """Where the sides of each group part."""
        differing = self._column("differing").to_numpy() > 0
        some = np.logical_or.reduceat(differing, self._starts)
        rows = self._first_of_blocks(differing, some)
        found = np.logical_or.reduceat(some[self._order], self._groups)
        rows = self._first_of_groups(rows, some[self._order])
        index = self._column("worst_index").to_numpy()[rows].tolist()
        actual, expected = (self._column(name).take(rows).to_pylist() for name in ("actual_value", "expected_value"))
        return [
            First(step, self._parameters[parameter], *told) if differs else None
            for differs, step, parameter, *told in zip(
                found, self._steps[rows].tolist(), self._parameter[rows].tolist(), index, actual, expected, strict=True
            )
        ]

    def _first_of_blocks(self, chosen: np.ndarray, some: np.ndarray | None = None) -> np.ndarray:
        """The first chosen row of each block; its first row where `some` says that none is."""
        rows = np.flatnonzero(chosen)
        if not rows.size:
            return self._starts
        found = rows[np.minimum(np.searchsorted(rows, self._starts), rows.size - 1)]
        return found if some is None else np.where(some, found, self._starts)

    def _first_of_groups(self, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Of one row for each block those with the first step among the chosen blocks of each group."""
        rows = rows[self._order]
        steps = np.where(chosen, self._steps[rows], np.iinfo(np.int64).max)
        least = np.minimum.reduceat(steps, self._groups)
        places = np.flatnonzero(steps == np.repeat(least, self._group_lengths()))
        return rows[places[np.searchsorted(places, self._groups)]]

    def _group_lengths(self) -> np.ndarray:
        return self._lengths(self._groups, len(self._order))

    @staticmethod
    def _lengths(starts: np.ndarray, end: int) -> np.ndarray:
        return np.diff(starts, append=end)


def check_table(path: Path, rows: int) -> None:
    """ParityError where a part file cannot be read or does not hold so many rows."""
    try:
        held = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise ParityError(f"{path}: altered or truncated ({' '.join(str(error).split())}); remove it") from None
    if held != rows:
        raise ParityError(f"{path}: altered, {held} rows where {rows} were written; remove it")


def check_whole_table(folder: Path, digest: str, rows: int) -> None:
    """ParityError where a run directory's table is missing, or is not the one its run wrote."""
    path = folder / PARQUET
    try:
        found = digest_of_file(path)
        held = rows if found != digest else pq.read_metadata(path).num_rows
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
