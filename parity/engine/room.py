"""How much room the rows of a cell take, where they lie, and how many files they are."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parity.case.case import Case
from parity.case.sample import ALIGNED, sampled
from parity.core.errors import ParityError
from parity.core.state import QUANTITIES
from parity.engine.account import Explaining
from parity.engine.plan import Cell
from parity.engine.window import plan_window
from parity.numerics.formats import format_named

SHARED_MEMORY = Path("/dev/shm")

GIB = 1 << 30

FILES = 64
"""Open files of the engine itself."""

WIDTHS = tuple(ALIGNED * times for times in (4, 2, 1))
"""Elements of one span of a sample; the widest that is not too large."""


def sample_of_cell(cell: Cell, explaining: Explaining | None) -> Case | None:
    """The case on a sample of a cell's elements, where it has one whose traces are not too large to be explained."""
    if explaining is None:
        return None
    found = (sampled(cell.case, width) for width in WIDTHS)
    fitting = (one for one in found if one is not None)
    return next((one for one in fitting if _bytes_of_trace(cell, one.layout().size) <= explaining.largest), None)


def explained_whole(cell: Cell, explaining: Explaining | None, *, kept: bool) -> bool:
    """Whether all of a cell is explained as soon as it has run: whole traces are needed for that, or kept anyway."""
    if explaining is None:
        return False
    return kept or _bytes_of_trace(cell, cell.case.layout().size) <= explaining.largest


def row_bytes(cell: Cell, explaining: Explaining | None, *, kept: bool) -> int:
    """Bytes of all rows that stand at a time: whole traces where they are needed, else those in flight."""
    if kept or explained_whole(cell, explaining, kept=kept):
        return _bytes_of_rows(cell, cell.case.steps + 1)
    sample = sample_of_cell(cell, explaining)
    sampled_bytes = 0 if sample is None else _bytes_of_trace(cell, sample.layout().size)
    rows = plan_window(cell.case.steps, _row_size(cell), False).rows
    return sampled_bytes + _bytes_of_rows(cell, rows, _written(cell))


def _bytes_of_rows(cell: Cell, rows: int, quantities: int = len(QUANTITIES)) -> int:
    """Bytes of so many rows of the gradients and of some quantities of every implementation."""
    return rows * _row_size(cell) * (1 + quantities * len(cell.candidates))


def _written(cell: Cell) -> int:
    """Quantities that anybody shows: files of the others stay empty."""
    return len(QUANTITIES) - (not cell.case.hyper.amsgrad) - (not cell.case.around().shows_average)


def _bytes_of_trace(cell: Cell, size: int) -> int:
    """As much for whole traces of so many elements."""
    return _bytes_of_rows(cell, cell.case.steps + 1) * size // cell.case.layout().size


def _row_size(cell: Cell) -> int:
    return cell.case.layout().size * format_named(cell.dtype).dtype.itemsize


def check_room(cell: Cell, folder: Path, explaining: Explaining | None, *, kept: bool) -> None:
    """ParityError where the rows of a cell fit neither into shared memory nor beside the results."""
    needed = row_bytes(cell, explaining, kept=kept)
    free = shutil.disk_usage(folder).free
    if needed > free and not _in_shared_memory(needed, shared=not kept):
        elements, steps = cell.case.layout().size, cell.case.steps
        raise ParityError(
            f"{cell.name}: {elements:,} elements in {len(cell.candidates)} implementations over {steps:,} steps need "
            f"{needed / GIB:,.1f} GiB at a time; {folder} has {free / GIB:,.1f} GiB free"
        )


def allow_files(cells: Iterable[Cell], lanes: int) -> None:
    """Let this process have as many files open as cells need that run at a time, if the system allows it.

    A row that is mapped keeps its file open, and many systems begin with 1,024 for a process, or 256.
    """
    # Of a participant the quantities and how far it is, of its worker both pipes and who waits for an answer.
    most = max((len(cell.candidates) * (len(QUANTITIES) + 4) for cell in cells), default=0)
    now, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES + lanes * most
    if needed > now != resource.RLIM_INFINITY:
        limit = needed if allowed == resource.RLIM_INFINITY else min(needed, allowed)
        # macOS allows less than it says.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, allowed))


@contextmanager
def scratch_folder(folder: Path, needed: int, *, shared: bool) -> Iterator[Path]:
    """A folder for rows in flight: in shared memory where `needed` bytes fit, else beside the results."""
    parent = SHARED_MEMORY if _in_shared_memory(needed, shared=shared) else folder
    path = Path(tempfile.mkdtemp(prefix=".parity-", dir=parent))
    try:
        yield path / "rows"
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _in_shared_memory(needed: int, *, shared: bool) -> bool:
    return shared and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * needed
