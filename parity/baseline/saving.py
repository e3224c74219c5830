"""Recording a selection of the catalogue, here or under another interpreter, and keeping it as a baseline."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from types import MappingProxyType

from parity.baseline.entry import Entry, entry_of
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
from parity.engine.candidates import under
from parity.engine.cell import run_cell
from parity.engine.plan import Candidate, Cell
from parity.engine.result import Failure
from parity.engine.workers import Workers
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.standing import standing_of
from parity.numerics.formats import FORMATS, format_named


@dataclass(frozen=True, slots=True)
class Recorded:
    """One implementation on one case in one dtype; either a trace folder, or why there is none.

    folder: of the trace, whose environment is that of the interpreter. failure: with the kind that the protocol has.
    """

    case: str
    dtype: str
    implementation: str
    folder: Path | None
    failure: Failure | None


def record_under(
    python: str,
    cases: Sequence[Case],
    candidates: Sequence[Candidate],
    dtypes: Sequence[str],
    folder: Path,
    *,
    timeout: float | None = 300.0,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Recorded]:
    """Record every candidate on every case in those of the dtypes that the case has.

    python: an interpreter with NumPy, ml_dtypes and the frameworks, or empty for this one. folder: gets the traces as
    ``case/dtype/implementation``; each is whole when it is yielded, and may then be moved or removed. timeout: seconds
    for one answer, None for ever. variables: of its environment, beside those of this process, also while it imports a
    framework. Nothing that goes wrong under the interpreter is raised: it is a Failure.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    chosen = tuple(under(candidate, python) if python else candidate for candidate in candidates)
    with (
        tempfile.TemporaryDirectory(prefix="parity-") as scratch,
        closing(Workers(Path(scratch) / "logs", 0, variables)) as workers,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        for case in cases:
            for dtype in (dtype for dtype in FORMATS if dtype in wanted and dtype in case.dtypes):
                traces = folder / case.name / dtype
                result = run_cell(
                    Cell(case, dtype, chosen, ()),
                    "",
                    workers,
                    Path(scratch) / "table.parquet",
                    Path(scratch) / "rows",
                    traces=traces,
                    timeout=timeout,
                    threads=threads,
                )
                shutil.rmtree(traces / "input")
                for outcome in result.outcomes:
                    made = traces / outcome.name if outcome.failure is None else None
                    yield Recorded(case.name, dtype, outcome.name, made, outcome.failure)


OnCell = Callable[[str, str], None]
"""Called with case and dtype when all implementations of a cell are recorded."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is recorded: cases, implementations, dtypes.

    python: an interpreter, empty for this one; variables: of its environment, beside those of this process.
    """

    cases: tuple[Case, ...]
    candidates: tuple[Candidate, ...]
    dtypes: tuple[str, ...]
    python: str = ""
    timeout: float | None = 300.0
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


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
        selection.python,
        selection.cases,
        selection.candidates,
        selection.dtypes,
        folder,
        timeout=selection.timeout,
        variables=selection.variables,
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
        Libraries(selection.timeout, selection.python, selection.variables) as libraries,
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
