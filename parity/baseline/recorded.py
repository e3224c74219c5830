"""Traces of the catalogue as another interpreter makes them, on the same inputs, bit by bit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from parity.case.case import Case
from parity.engine.candidates import under
from parity.engine.cell import run_cell
from parity.engine.plan import Candidate, Cell
from parity.engine.result import Failure
from parity.engine.workers import Workers
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
) -> Iterator[Recorded]:
    """Record every candidate on every case in those of the dtypes that the case has.

    python: an interpreter with NumPy, ml_dtypes and the frameworks, or empty for this one. folder: gets the traces as
    ``case/dtype/implementation``; each is whole when it is yielded, and may then be moved or removed. timeout: seconds
    for one answer, None for ever. Nothing that goes wrong under the interpreter is raised: it is a Failure.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    chosen = tuple(under(candidate, python) if python else candidate for candidate in candidates)
    with (
        tempfile.TemporaryDirectory(prefix="parity-") as scratch,
        closing(Workers(Path(scratch) / "logs", 0)) as workers,
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
