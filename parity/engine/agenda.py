"""The cells of a plan that wait, and the places in which they are run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from parity.engine.plan import Cell
from parity.engine.result import CellResult


class Place(Protocol):
    """Where cells are run, one at a time: worker processes of this machine, or those of another."""

    def run(self, cell: Cell) -> CellResult:
        """Run a cell, and keep its result and table under parts/; Interrupted where it is not wanted any more."""

    def stop(self) -> None:
        """Break off what is being run; from another thread."""

    def close(self) -> None:
        """Let every process end."""


class Agenda:
    """Cells that wait, given out so that a lane stays with the dtypes it began.

    Frameworks compile once per process, shape and dtype: two lanes that both meet every dtype would
    both compile everything. A lane that has none of its dtypes left begins another, and helps out
    with those of other lanes when all are begun.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting = list(cells)
        self._owners: dict[str, Place] = {}
        self._lock = threading.Lock()

    def take(self, lane: Place) -> Cell:
        """The next cell of a lane; IndexError where none is left."""
        with self._lock:
            own = [cell for cell in self._waiting if self._owners.get(cell.dtype) is lane]
            fresh = [cell for cell in self._waiting if cell.dtype not in self._owners]
            cell = (own or fresh or self._waiting[::-1])[0]
            self._owners.setdefault(cell.dtype, lane)
            self._waiting.remove(cell)
            return cell
