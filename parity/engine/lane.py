"""Cells that are asked for one by one, on worker processes that stay."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from parity.core.errors import ParityError
from parity.engine.account import Explaining
from parity.engine.local import LocalWorker
from parity.engine.plan import Cell
from parity.engine.result import CellResult
from parity.engine.room import allow_files
from parity.engine.run import Options, part_paths, read_part, run_one
from parity.engine.workers import LOGS, Workers
from parity.implementations.implementation import Implementation


class Lane:
    """Runs each cell once, whoever asks: several processes may share a folder, the first one runs, the others read.

    number: of this process among them. Names of cells have to be unique in the folder.
    """

    def __init__(self, folder: Path, options: Options, explaining: Explaining | None = None, number: int = 0) -> None:
        self._folder, self._options, self._explaining, self._number = folder, options, explaining, number
        self._workers = self._fresh_workers()
        self._threads = ThreadPoolExecutor(os.cpu_count())
        self._results: dict[str, CellResult] = {}
        self._broken: dict[str, str] = {}

    def result(self, cell: Cell, *local: Implementation) -> CellResult:
        """What came out of a cell; local: those of its implementations that are run in this process.

        ParityError where it was asked for before and did not come to its end.
        """
        if cell.name in self._broken:
            raise ParityError(f"{cell.name} did not come to its end: {self._broken[cell.name]}")
        if cell.name not in self._results:
            self._results[cell.name] = self._found(cell, local)
        return self._results[cell.name]

    def close(self) -> None:
        """Let every process end."""
        self._workers.close()
        self._threads.shutdown()

    def _fresh_workers(self) -> Workers:
        return Workers(self._folder / LOGS, self._number, lanes=self._options.jobs)

    def _found(self, cell: Cell, local: tuple[Implementation, ...]) -> CellResult:
        workers = {one.name: one.worker for one in cell.candidates}
        try:
            with _held(self._folder / LOGS / f"{part_paths(self._folder, cell.name)[0].stem}.lock"):
                kept = read_part(self._folder, cell.name)
                if kept is not None:
                    return kept
                for implementation in local:
                    self._workers.admit(workers[implementation.name], LocalWorker(implementation))
                allow_files([cell], 1)
                return run_one(cell, self._workers, self._folder, self._options, self._threads, self._explaining)
        except BaseException as error:
            self._broken[cell.name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            # A worker that still owes an answer would give it to the next question.
            self._workers.stop()
            self._workers.close()
            self._workers = self._fresh_workers()
            raise
        finally:
            for implementation in local:
                self._workers.discard(workers[implementation.name])


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a file's lock; it is let go with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
