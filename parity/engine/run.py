"""Execute a plan: cells in lanes, each lane with its own worker processes, results kept as they come."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from pydantic import TypeAdapter, ValidationError

from parity.comparison.trace import hyper_to_json
from parity.core.digest import digest_of
from parity.core.environment import describe_environment
from parity.core.errors import ParityError
from parity.core.files import safe_name, write_atomically
from parity.core.interrupt import interrupt_once
from parity.core.version import VERSION
from parity.engine.account import Explained, Explaining
from parity.engine.agenda import Agenda, Place
from parity.engine.cell import run_cell
from parity.engine.convoy import Interrupted
from parity.engine.explanations import SUFFIX, check_document, write_document
from parity.engine.plan import Cell, Plan
from parity.engine.result import Account, CellResult, judge_pair
from parity.engine.room import allow_files, check_room, explained_whole, row_bytes, sample_of_cell, scratch_folder
from parity.engine.sampling import of_a_sample
from parity.engine.tables import check_table
from parity.engine.workers import LOGS, Workers

RESULT_SCHEMA = 4
PARTS = "parts"
INTERRUPTED = "interrupted"
"""What the reason begins with for which a run ended before its end and can be resumed."""

_RESULT = TypeAdapter(CellResult)

OnCell = Callable[[Cell, CellResult, int, int], None]


@dataclass(frozen=True, eq=False)
class _Here:
    """A place of this machine."""

    workers: Workers
    folder: Path
    options: Options
    threads: ThreadPoolExecutor
    explaining: Explaining | None

    def run(self, cell: Cell) -> CellResult:
        return run_one(cell, self.workers, self.folder, self.options, self.threads, self.explaining)

    def stop(self) -> None:
        self.workers.stop()

    def close(self) -> None:
        self.workers.close()


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is executed.

    jobs: lanes. timeout: seconds a worker may take for one answer, None for ever. keep_traces: keep
    whole traces under traces/. resume: take over what the folder already holds. max_failures: stop
    after so many pairs that are not as expected, 0 for never. csv: write the table as text as well.
    """

    jobs: int = 1
    timeout: float | None = 300.0
    keep_traces: bool = False
    resume: bool = False
    max_failures: int = 0
    csv: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an execution came; complete only where every cell of the plan has its result."""

    results: tuple[CellResult, ...]
    planned: int
    stopped: str

    @property
    def complete(self) -> bool:
        """Whether every planned cell was run."""
        return len(self.results) == self.planned


def part_paths(folder: Path, cell_name: str) -> tuple[Path, Path]:
    """Result and table of a cell inside a run directory."""
    case, _, dtype = cell_name.rpartition(" ")
    stem = f"{safe_name(case)}__{dtype}"
    return folder / PARTS / f"{stem}.json", folder / PARTS / f"{stem}.parquet"


def traces_path(folder: Path, case: str, dtype: str) -> Path:
    """Where the traces of a cell are kept inside a run directory."""
    return folder / "traces" / safe_name(case) / dtype


def explanations_path(folder: Path, cell_name: str) -> Path:
    """Where the whole explanations of a cell's headline pairs stand inside a run directory."""
    return part_paths(folder, cell_name)[0].with_suffix(SUFFIX)


def cell_key(cell: Cell, keep_traces: bool, explained: bool) -> str:
    """Digest of everything that determines a cell's result: question, implementations, surroundings."""
    surroundings = describe_environment()
    parts = {
        "schema": RESULT_SCHEMA,
        "version": VERSION,
        "case": cell.case.digest(),
        "name": cell.name,
        "candidates": [
            [one.name, one.target, hyper_to_json(cell.case.hyper_for(one.defaults)), *([one.python] * bool(one.python))]
            for one in cell.candidates
        ],
        "plugins": [one.sources for one in cell.candidates if one.plugin],
        "pairs": cell.pairs,
        "environment": surroundings,
        "traces": keep_traces,
        "explained": explained,
    }
    return digest_of(json.dumps(parts, sort_keys=True).encode())


def execute(
    plan: Plan,
    folder: Path,
    options: Options,
    on_cell: OnCell,
    explaining: Explaining | None = None,
    elsewhere: Sequence[Place] = (),
) -> Progress:
    """Run every cell that the folder does not hold yet; Ctrl-C and max_failures end it early, in order.

    explaining: who explains each cell as soon as it has run. elsewhere: places of other machines, in which cells are
    run instead of here. Results are written cell by cell under parts/, so nothing that was computed is ever lost.
    """
    done: dict[str, CellResult] = {}
    waiting: list[Cell] = []
    for cell in plan.cells:
        kept = load_part(folder, cell, options.keep_traces, explaining is not None) if options.resume else None
        if kept is None:
            waiting.append(cell)
        else:
            done[cell.name] = kept
    for cell in waiting if not elsewhere else ():
        check_room(cell, folder, explaining, kept=options.keep_traces)
    for number, (name, result) in enumerate(done.items(), start=1):
        on_cell(next(cell for cell in plan.cells if cell.name == name), result, number, len(plan.cells))
    stopped = ""
    if waiting:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            lanes = max(1, min(options.jobs, len(waiting)))
            allow_files(waiting if not elsewhere else (), lanes)
            places = elsewhere or [
                _Here(Workers(folder / LOGS, lane, lanes=lanes), folder, options, threads, explaining)
                for lane in range(lanes)
            ]
            stopped = _run_places(waiting, done, options, on_cell, len(plan.cells), places)
    results = tuple(done[cell.name] for cell in plan.cells if cell.name in done)
    return Progress(results, len(plan.cells), stopped)


def _run_places(
    waiting: list[Cell],
    done: dict[str, CellResult],
    options: Options,
    on_cell: OnCell,
    total: int,
    places: Sequence[Place],
) -> str:
    with _one_interrupt():
        try:
            return _run_cells(waiting, done, options, on_cell, total, places)
        finally:
            # Only now is no thread left that waits for an answer.
            for place in places:
                place.close()


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let the first Ctrl-C raise KeyboardInterrupt; the next ones find the run ending, and must not break that off."""
    arranged = interrupt_once()
    try:
        yield
    finally:
        if arranged:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _run_cells(
    waiting: list[Cell],
    done: dict[str, CellResult],
    options: Options,
    on_cell: OnCell,
    total: int,
    places: Sequence[Place],
) -> str:
    free: SimpleQueue[Place] = SimpleQueue()
    for place in places:
        free.put(place)
    agenda = Agenda(waiting)
    halt = threading.Event()
    failures = 0
    stopped = ""
    with ThreadPoolExecutor(len(places)) as pool:

        def work() -> tuple[Cell, CellResult]:
            if halt.is_set():
                raise Interrupted
            place = free.get()
            try:
                cell = agenda.take(place)
                return cell, place.run(cell)
            finally:
                free.put(place)

        pending: set[Future[tuple[Cell, CellResult]]] = {pool.submit(work) for _ in waiting}
        try:
            while pending and not stopped:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    cell, result = future.result()
                    done[cell.name] = result
                    on_cell(cell, result, len(done), total)
                    if not options.max_failures:
                        continue
                    failures += _unexpected(cell, result)
                    if failures >= options.max_failures:
                        stopped = f"stopped after {failures} pairs that are not as expected"
        except KeyboardInterrupt:
            stopped = INTERRUPTED
        except Interrupted as reason:
            stopped = f"{INTERRUPTED}: {reason}"
        finally:
            halt.set()
            for future in pending:
                future.cancel()
            if pending:
                for place in places:
                    place.stop()
    return stopped


def _unexpected(cell: Cell, result: CellResult) -> int:
    verdicts = (
        judge_pair(result, pair, cell.case.expectation_for(pair.actual, pair.expected, cell.dtype))
        for pair in result.pairs
    )
    return sum(not verdict.as_expected for verdict in verdicts)


def run_one(
    cell: Cell,
    workers: Workers,
    folder: Path,
    options: Options,
    threads: ThreadPoolExecutor,
    explaining: Explaining | None,
    key: str | None = None,
) -> CellResult:
    """Run one cell, explain it, and keep its result and table under parts/; key: where it is not `cell_key`'s."""
    json_path, table_path = part_paths(folder, cell.name)
    explanations_path(folder, cell.name).unlink(missing_ok=True)
    if key is None:
        key = cell_key(cell, options.keep_traces, explaining is not None)
    explains = explained_whole(cell, explaining, kept=options.keep_traces)
    sample = None if explains else sample_of_cell(cell, explaining)
    needed = row_bytes(cell, explaining, kept=options.keep_traces)
    with scratch_folder(folder, needed, shared=not options.keep_traces) as scratch:
        kept = traces_path(folder, cell.case.name, cell.dtype)
        traces = kept if options.keep_traces else scratch.parent / "traces" if explains else None
        parts = scratch.parent / "sample"
        result = run_cell(
            cell, key, workers, table_path, scratch, traces=traces, timeout=options.timeout, threads=threads,
            sample=None if sample is None else (sample, parts),
        )  # fmt: skip
        if explains and explaining is not None and traces is not None:
            result = replace(result, account=_keep(explaining.explainer(cell, result, traces), folder, cell))
        elif explaining is not None and sample is not None:
            found = explaining.explainer(replace(cell, case=sample), result, parts)
            result = replace(result, account=_keep(of_a_sample(found, sample, result), folder, cell))
        elif explaining is not None:
            reason = f"its traces are larger than {explaining.largest >> 20} MiB; --keep-traces, or 'parity explain'"
            result = replace(result, account=Account(reason=reason))
    write_atomically(json_path, _RESULT.dump_json(result, indent=1).decode() + "\n")
    return result


def _keep(explained: Explained, folder: Path, cell: Cell) -> Account:
    """The account, with the digest of what was written beside it."""
    if explained.document is None:
        return explained.account
    digest = write_document(explained.document, explanations_path(folder, cell.name))
    return replace(explained.account, explanations=digest)


def read_part(folder: Path, cell_name: str) -> CellResult | None:
    """The kept result of a cell, None where there is none; ParityError where it cannot be read."""
    json_path, table_path = part_paths(folder, cell_name)
    if not json_path.is_file() or not table_path.is_file():
        return None
    try:
        return _RESULT.validate_json(json_path.read_bytes())
    except ValidationError as error:
        raise ParityError(f"{json_path}: altered or truncated ({error.errors()[0]['msg']}); remove it") from None


def load_part(folder: Path, cell: Cell, keep_traces: bool, explained: bool) -> CellResult | None:
    """The kept result of a cell, None where there is none or it answers another question."""
    # What lies elsewhere, or is installed for another interpreter, may have changed without a trace here.
    if any(one.python or (one.plugin and not one.sources) for one in cell.candidates):
        return None
    result = read_part(folder, cell.name)
    if result is None or result.key != cell_key(cell, keep_traces, explained):
        return None
    check_table(part_paths(folder, cell.name)[1], result.rows)
    if result.account.explanations:
        check_document(explanations_path(folder, cell.name), result.account.explanations)
    return result
