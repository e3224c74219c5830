"""Recording a selection of the catalogue and keeping it as a baseline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from parity.baseline.entry import Entry, entry_of
from parity.baseline.recorded import Recorded, record_under
from parity.baseline.store import (
    INDEX,
    Baseline,
    distinct_environments,
    environment_name,
    read_baseline,
    write_baseline,
)
from parity.case.case import Case
from parity.comparison.trace import Trace, read_trace
from parity.core.errors import NothingCompared, ParityError
from parity.engine.plan import Candidate
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.standing import standing_of
from parity.numerics.formats import format_named

OnCell = Callable[[str, str], None]
"""Called with case and dtype when all implementations of a cell are recorded."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is recorded: cases, implementations, dtypes. python: an interpreter, empty for this one."""

    cases: tuple[Case, ...]
    candidates: tuple[Candidate, ...]
    dtypes: tuple[str, ...]
    python: str = ""
    timeout: float | None = 300.0


@dataclass(frozen=True, slots=True)
class RecordedCell:
    """All implementations of one case in one dtype."""

    case: Case
    dtype: str
    recorded: tuple[Recorded, ...]


def recorded_cells(selection: Selection, folder: Path, on_cell: OnCell) -> Iterator[RecordedCell]:
    """Record cell by cell; the traces of a cell are removed when the next one is asked for."""
    cases = {case.name: case for case in selection.cases}
    made = record_under(
        selection.python, selection.cases, selection.candidates, selection.dtypes, folder, timeout=selection.timeout
    )
    for (case, dtype), group in groupby(made, lambda one: (one.case, one.dtype)):
        members = tuple(group)
        yield RecordedCell(cases[case], dtype, members)
        shutil.rmtree(folder / case / dtype, ignore_errors=True)
        on_cell(case, dtype)


def kept(trace: Trace, candidate: Candidate, inputs: Inputs, libraries: Libraries) -> Entry:
    """The entry of a trace: taken for its twin, or what else fits."""
    return entry_of(trace, standing_of(trace, candidate.convention, inputs, libraries), inputs)


def save(
    selection: Selection,
    root: Path,
    *,
    update: bool = False,
    whole: bool = True,
    on_cell: OnCell = lambda case, dtype: None,
) -> tuple[Baseline, tuple[Recorded, ...]]:
    """Record a selection and write it as the baseline of its environment; with what could not be recorded.

    root: the folder of all environments. update: allows to replace what this environment has there; whole: all of it,
    else only what was recorded. ParityError where there is a baseline and no update is allowed, before most is
    recorded; NothingCompared where nothing could be recorded.
    """
    failed: list[Recorded] = []

    def cells(folder: Path, libraries: Libraries) -> Iterator[tuple[Entry, ...]]:
        for cell in recorded_cells(selection, folder, on_cell):
            failed.extend(one for one in cell.recorded if one.folder is None)
            yield entries_of(cell, selection.candidates, libraries)

    with (
        tempfile.TemporaryDirectory(prefix="parity-") as scratch,
        Libraries(selection.timeout, selection.python) as libraries,
    ):
        made = filter(None, cells(Path(scratch), libraries))
        first = next(made, None)
        if first is None:
            raise NothingCompared(f"nothing was recorded{_first_reason(failed)}: there is no baseline to write")
        folder = root / environment_name(distinct_environments(first))
        there = (folder / INDEX).exists()
        if there and not update:
            raise ParityError(f"{folder}: this environment has a baseline already; --update replaces it")
        keep = read_baseline(folder) if there and not whole else None
        return write_baseline(root, chain([first], made), keep), tuple(failed)


def _first_reason(failed: Sequence[Recorded]) -> str:
    reasons = [f"{one.implementation}: {one.failure.reason}" for one in failed if one.failure is not None]
    return f" ({reasons[0]})" if reasons else ""


def entries_of(cell: RecordedCell, candidates: Sequence[Candidate], libraries: Libraries) -> tuple[Entry, ...]:
    """The entries of all that could be recorded of a cell."""
    inputs = Inputs(cell.case, format_named(cell.dtype))
    named = {candidate.name: candidate for candidate in candidates}
    return tuple(
        kept(read_trace(one.folder), named[one.implementation], inputs, libraries)
        for one in cell.recorded
        if one.folder is not None
    )
