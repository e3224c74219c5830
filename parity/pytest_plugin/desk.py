"""What one process of a session has for parity: implementations, cells, and the workers that run them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from parity.api.run import check_output, prepare_output
from parity.api.session import Session
from parity.baseline.drift import GREEN, Drift
from parity.baseline.watch import Watch, open_watch
from parity.core.errors import ParityError, UsageError
from parity.engine.candidates import select_candidates
from parity.engine.plan import Candidate, Cell
from parity.engine.result import CellResult
from parity.engine.run import Options
from parity.implementations.implementation import Implementation
from parity.pytest_plugin import options

TIMEOUT = 300.0


class Desk:
    """Made where a session first meets parity; the workers start with the first cell that is asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.timeout = timeout(config)
        self._folder = options.folder(config)
        self._candidates: tuple[Candidate, ...] | None = None
        self._session: Session | None = None
        self._cells: dict[str, Cell] = {}
        self._stale: tuple[str, ...] = ()
        self._asked: Counter[str] = Counter()
        self._paired: set[str] = set()
        self._watch: Watch | None = None
        self._drifts: dict[str, tuple[Drift, ...]] = {}

    def candidates(self) -> tuple[Candidate, ...]:
        """The implementations whose pairs case files are collected for."""
        if self._candidates is None:
            self._candidates = chosen(self.config)
        return self._candidates

    def collected(self, pair: tuple[str, str]) -> None:
        """A case pairs these two, selected or not."""
        self._paired.update(pair)

    def planned(self, cells: Mapping[str, Cell], stale: Sequence[str]) -> None:
        """Take the cells of the pairs that are selected, and the expectations that match nothing."""
        self._cells, self._stale = dict(cells), tuple(stale)

    def check_own(self) -> None:
        """UsageError where a user's own implementation would be left out without a word."""
        for candidate in self.candidates() if self._paired else ():
            if candidate.plugin and candidate.name not in self._paired:
                others = ", ".join(other.name for other in self.candidates() if other is not candidate)
                raise pytest.UsageError(
                    f"nothing to compare {candidate.name} with: no expectation pairs it with {others}"
                )

    def cell(self, name: str) -> Cell:
        """The cell of a selected pair."""
        return self._cells[name]

    def call(self, node_id: str) -> int:
        """How often a test has asked, this time included."""
        self._asked[node_id] += 1
        return self._asked[node_id]

    def result(self, cell: Cell, *local: Implementation) -> CellResult:
        """What came out of a cell, which is run where nobody has asked for it yet."""
        with importable():
            return self._opened().result(cell, *local)

    def watch(self) -> Watch | None:
        """What implementations are held against; None where no baseline is named."""
        root = options.baseline(self.config)
        if self._watch is None and root is not None:
            first = not hasattr(self.config, "workerinput")
            self._watch = open_watch(root, update=self.config.getoption("parity_update"), checked=first)
        return self._watch

    def fallen(self, cell: Cell) -> tuple[Drift, ...]:
        """Those implementations of a cell that are not as in the baseline; none where that is brought up to date."""
        if cell.name not in self._drifts:
            self._drifts[cell.name] = self._opened().drifts(cell)
        update = self._watch is not None and self._watch.update
        return tuple(one for one in self._drifts[cell.name] if one.status not in GREEN and not update)

    def place(self) -> str:
        """The baseline that is held against, and how to bring it up to date."""
        assert self._watch is not None
        told = self._watch.root if self._watch.baseline is None else self._watch.baseline.folder
        return f"{told} (--parity-update takes over what is now)"

    def replace(self, cell: Cell) -> None:
        """Let the run of the session hold a cell that was asked for to other expectations."""
        self._opened().expect([cell])

    def close(self) -> None:
        """End the workers, and note what was asked and what was planned."""
        if self._session is not None or self._cells:
            self._opened().close()
        self._session, self._cells = None, {}

    def abandon(self) -> None:
        """End the workers that an error left behind."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _opened(self) -> Session:
        if self._session is None:
            number = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
            explained = options.value(self.config, "parity_explain") is not False
            settings = Options(jobs=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), timeout=self.timeout)
            self._session = Session(self._folder, settings, explained=explained, number=number, watch=self.watch())
            self._session.expect(self._cells.values(), self._stale)
        return self._session


def desk_of(config: pytest.Config) -> Desk:
    """The desk of a process."""
    desk: Desk = config.stash.setdefault(options.DESK, None) or Desk(config)
    config.stash[options.DESK] = desk
    return desk


def check(config: pytest.Config) -> None:
    """UsageError, one line, where a flag cannot be followed."""
    try:
        timeout(config)
        report = options.report(config)
        if report is not None:
            check_output(report)
            if not config.option.collectonly:
                prepare_output(report, resume=False)
        if config.getoption("parity_update") and options.baseline(config) is None:
            raise UsageError("--parity-update: names no baseline to bring up to date; add --parity-baseline=DIR")
        desk_of(config).watch()
        if options.value(config, "parity_implementations"):
            desk_of(config).candidates()
    except ParityError as error:
        raise pytest.UsageError(str(error)) from None


def timeout(config: pytest.Config) -> float:
    """Seconds a worker may take for one answer; UsageError for what is no positive number."""
    told = options.value(config, "parity_timeout")
    try:
        seconds = float(told or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise pytest.UsageError(f"parity_timeout: {told!r} is not allowed; a positive number of seconds")
    return seconds


def chosen(config: pytest.Config) -> tuple[Candidate, ...]:
    """The candidates that the flag or the ini key names, all that are shipped where neither does."""
    names: Sequence[str] = options.value(config, "parity_implementations") or ()
    with importable(), tempfile.TemporaryDirectory(prefix="parity-") as logs:
        return select_candidates(names, Path(logs), timeout(config))


@contextmanager
def importable() -> Iterator[None]:
    """What pytest made importable here is importable in the processes that start meanwhile."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
