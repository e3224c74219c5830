"""The same cells on every kind of machine: what tells the kinds apart, and how far their bits do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from parity.comparison.distance import Distance, Number
from parity.comparison.divergence import schema
from parity.comparison.trace import read_trace
from parity.comparison.traces import compare_traces
from parity.core.environment import differences
from parity.core.files import write_atomically
from parity.engine.plan import Cell
from parity.engine.result import CellResult
from parity.engine.run import part_paths, read_part, traces_path
from parity.engine.tables import TableWriter

FOLDER = "kinds"
"""Of a run directory: what the kinds but the first made of its cells, by their numbers."""

PARQUET = "kinds.parquet"
"""The columns of divergence.parquet after the kind of machine, and the one that it is held against."""


@dataclass(frozen=True, slots=True)
class MachineKind:
    """A kind of machine. name: what tells it from the others; environment: what all of its workers say; workers: of it
    when the run began."""

    name: str
    environment: dict[str, Any]
    workers: int


@dataclass(frozen=True, slots=True)
class Unlike:
    """An implementation in a cell on another kind of machine, held against the first kind.

    failure: why there is nothing to hold, empty where there is. compared, differing: elements over all quantities and
    steps; first: the earliest step with a difference, None where there is none. ulp, lr: the weights at their worst.
    """

    kind: str
    case: str
    dtype: str
    implementation: str
    failure: str = ""
    compared: int = 0
    differing: int = 0
    first: int | None = None
    ulp: int = 0
    lr: Number = 0.0


@dataclass(frozen=True, slots=True)
class Kinds:
    """All kinds, the first of which made the run, and every other against it."""

    machines: tuple[MachineKind, ...]
    rows: tuple[Unlike, ...]


def kinds_of(environments: Mapping[str, Mapping[str, Any]], here: Mapping[str, Any]) -> tuple[MachineKind, ...]:
    """Kinds by what workers say of themselves: that of this machine first, then the most frequent."""
    found: list[tuple[dict[str, Any], int]] = []
    for one in environments.values():
        place = next((place for place, (other, _) in enumerate(found) if not differences(other, one)), len(found))
        found[place : place + 1] = [(dict(one), found[place][1] + 1 if place < len(found) else 1)]
    found.sort(key=lambda one: (len(differences(one[0], here)) > 0, -one[1], str(one[0])))
    told = [{each.what: each.after for each in differences(found[0][0], one)} for one, _ in found]
    first = {each.what: each.before for one, _ in found for each in differences(found[0][0], one)}
    names = [", ".join(f"{what} {values.get(what, first[what])}" for what in first) or "all alike" for values in told]
    return tuple(MachineKind(name, one, count) for name, (one, count) in zip(names, found, strict=True))


class Asked(Protocol):
    """A place on workers of one kind, of which an answer is had before anything of it is kept."""

    def ask(self, cell: Cell) -> Mapping[str, bytes]:
        """What a cell leaves there, by path."""

    def keep(self, cell: Cell, found: Mapping[str, bytes]) -> CellResult:
        """Keep it, and read its result."""

    def stop(self) -> None:
        """Break off what is being run."""

    def close(self) -> None:
        """Let every process end."""


class OnEveryKind:
    """A place that runs a cell on a worker of every kind at once; the first kind's is the result."""

    def __init__(self, places: Sequence[Asked]) -> None:
        self._places = places

    def run(self, cell: Cell) -> CellResult:
        """Run a cell everywhere; the first kind's is kept last: where it is, all are."""
        with ThreadPoolExecutor(len(self._places)) as threads:
            found = list(threads.map(lambda place: place.ask(cell), self._places))
        for place, one in list(zip(self._places, found, strict=True))[1:]:
            place.keep(cell, one)
        return self._places[0].keep(cell, found[0])

    def stop(self) -> None:
        """Break off everywhere."""
        for place in self._places:
            place.stop()

    def close(self) -> None:
        """End everywhere."""
        for place in self._places:
            place.close()


def folder_of(folder: Path, number: int) -> Path:
    """Where a kind leaves its cells; number: 0 for the first."""
    return folder / FOLDER / str(number + 1) if number else folder


def forget_other_kinds(folder: Path, machines: Sequence[MachineKind], cells: Sequence[Cell]) -> None:
    """Of an earlier run, have nothing taken over that other kinds made, or that one of these has not run yet."""
    note = folder / FOLDER / "kinds.json"
    told = json.dumps([[one.name, one.environment] for one in machines], sort_keys=True)
    same = note.is_file() and note.read_text(encoding="utf-8") == told
    for cell in cells:
        if not same or any(read_part(folder_of(folder, number), cell.name) is None for number in range(len(machines))):
            part_paths(folder, cell.name)[0].unlink(missing_ok=True)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, told)


def hold_kinds(results: Sequence[CellResult], folder: Path, machines: Sequence[MachineKind]) -> Kinds:
    """Hold what the other kinds made of every cell against the first, to the bit, and write the table of it."""
    rows = []
    text = pa.dictionary(pa.int32(), pa.string())
    columns = pa.schema([("kind", text), ("against", text), *schema()])
    with TableWriter(folder / PARQUET, columns) as writer:
        for number, machine in list(enumerate(machines))[1:]:
            there = folder_of(folder, number)
            for result in results:
                other = read_part(there, f"{result.case} {result.dtype}")
                assert other is not None
                for name in (one.name for one in result.outcomes):
                    place = (machine.name, result.case, result.dtype, name)
                    failed = other.outcome(name).failure or result.outcome(name).failure
                    if failed is not None:
                        rows.append(Unlike(*place, failure=failed.reason))
                        continue
                    actual, expected = (
                        read_trace(traces_path(one, result.case, result.dtype) / name) for one in (there, folder)
                    )
                    found = compare_traces(actual, expected)
                    names = [pa.array([one.name] * found.table.num_rows, text) for one in (machine, machines[0])]
                    writer.write(pa.table([*names, *found.table.columns], schema=columns))
                    if found.distances:
                        rows.append(_unlike(place, found.distances))
                    else:
                        rows.append(Unlike(*place, failure=found.verdict.reason))
    return Kinds(tuple(machines), tuple(rows))


def _unlike(place: tuple[str, str, str, str], distances: Sequence[Distance]) -> Unlike:
    weights = next(one for one in distances if one.quantity == "w")
    return Unlike(
        *place,
        compared=sum(one.compared for one in distances),
        differing=sum(one.differing for one in distances),
        first=min((one.first.step for one in distances if one.first is not None), default=None),
        ulp=int(weights.worst_max_ulp.value),
        lr=0.0 if weights.worst_max_steps is None else weights.worst_max_steps.value,
    )
