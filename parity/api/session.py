"""A session in which cells are asked for one by one; at its end they make a run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from parity.api.run import conclude
from parity.baseline import watch as watching
from parity.baseline.check import Checked
from parity.baseline.drift import Drift
from parity.baseline.watch import Watch
from parity.case.catalogue import shipped_cases
from parity.core.errors import NothingCompared
from parity.core.files import write_atomically
from parity.core.version import VERSION
from parity.engine.account import Explained, Explaining
from parity.engine.lane import Lane
from parity.engine.plan import Cell, Plan
from parity.engine.power import read_power
from parity.engine.record import Run, record
from parity.engine.result import Account, CellResult
from parity.engine.run import PARTS, Options, Progress, read_part
from parity.engine.workers import LOGS
from parity.explain.account import account
from parity.explain.libraries import Libraries
from parity.implementations.implementation import Implementation
from parity.numerics.formats import FORMATS

_PLAN = TypeAdapter(Plan)
_PLAN_FILE = "plan-{}.json"


class Session:
    """Asks cells of one lane and keeps in mind which; several processes may have one each in the same folder.

    explained: every pair is held against its twins. number: of this process among them. watch: every implementation
    is held against a baseline.
    """

    def __init__(
        self, folder: Path, options: Options, *, explained: bool = True, number: int = 0, watch: Watch | None = None
    ) -> None:
        for name in (PARTS, LOGS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._folder, self._number, self._watch = folder, number, watch
        self._libraries = Libraries(options.timeout)
        self._lane = Lane(folder, options, self._explaining(explained), number)
        self._cells: dict[str, Cell] = {}
        self._stale: tuple[str, ...] = ()

    def expect(self, cells: Iterable[Cell], stale: Iterable[str] = ()) -> None:
        """Cells that are going to be asked for, and expectations that match nothing: part of the run in any case."""
        self._cells.update({cell.name: cell for cell in cells})
        self._stale = (*self._stale, *stale)

    def result(self, cell: Cell, *local: Implementation) -> CellResult:
        """What came out of a cell; local: those of its implementations that are run in this process."""
        self._cells[cell.name] = cell
        return self._lane.result(cell, *local)

    def drifts(self, cell: Cell) -> tuple[Drift, ...]:
        """What became of the implementations of a cell that has run, held against the baseline."""
        return () if self._watch is None else tuple(one for one, _ in watching.noted(self._watch, cell, self._folder))

    def close(self) -> None:
        """Let the processes end, and leave a note of what was asked for `gather`."""
        try:
            self._lane.close()
        finally:
            self._libraries.__exit__(None, None, None)
        plan = Plan(tuple(self._cells.values()), self._stale)
        write_atomically(self._folder / LOGS / _PLAN_FILE.format(self._number), _PLAN.dump_json(plan).decode())

    def _explaining(self, explained: bool) -> Explaining | None:
        explainer = partial(account, libraries=self._libraries) if explained else None
        if self._watch is None:
            return None if explainer is None else Explaining(explainer)
        watch = self._watch

        def note_and_explain(cell: Cell, result: CellResult, traces: Path) -> Explained:
            watching.note(watch, cell, result, traces, self._folder, self._libraries)
            return Explained(Account()) if explainer is None else explainer(cell, result, traces)

        return Explaining(note_and_explain, largest=sys.maxsize)


def held(folder: Path, watch: Watch) -> Checked | None:
    """All that closed sessions in a folder found beside a baseline, written where it belongs; before `gather`.

    None where they asked nothing.
    """
    cells = [cell for plan in _plans(folder) for cell in plan.cells]
    return watching.conclude(watch, list({cell.name: cell for cell in cells}.values()), folder) if cells else None


def gather(folder: Path, stopped: str = "", *, written: bool = True) -> Run | None:
    """The run that closed sessions in a folder make together; None where none asked anything.

    stopped: why they ended early, empty where they did not. written: with its tables, run.json and report.md.
    """
    plans = _plans(folder)
    cells = {cell.name: cell for plan in plans for cell in plan.cells}
    if not cells:
        return None
    dtypes = list(FORMATS)
    ordered = sorted(cells.values(), key=lambda cell: (cell.case.name, dtypes.index(cell.dtype)))
    plan = Plan(tuple(ordered), tuple(dict.fromkeys(line for plan in plans for line in plan.stale)))
    results = tuple(result for result in (read_part(folder, cell.name) for cell in ordered) if result is not None)
    progress, power = Progress(results, len(cells), stopped), read_power(shipped_cases())
    if not written:
        return record(plan, progress, VERSION, power)
    run = conclude(plan, progress, folder, power)
    for surplus in (*(folder / LOGS).glob(_PLAN_FILE.format("*")), *(folder / LOGS).glob("*.lock")):
        surplus.unlink()
    return run


def _plans(folder: Path) -> list[Plan]:
    """What each process was asked."""
    return [_PLAN.validate_json(note.read_bytes()) for note in sorted((folder / LOGS).glob(_PLAN_FILE.format("*")))]


def exit_code_beside_tests(run: Run) -> int:
    """What a run comes to where every verdict was a test's to judge: as `Run.exit_code`, of all that is left."""
    if not run.counts.elements:
        # A test that saw a crash is red already, or has caught it.
        return run.exit_code if run.exit_code == NothingCompared.exit_code else 0
    return replace(run, verdicts=(), complete=True, stopped="").exit_code
