"""A baseline that the cells of a session are held against as they come, by several processes that share a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.baseline.check import Checked, choose_baseline, hold_cell, with_news
from parity.baseline.drift import Drift, Status, drift
from parity.baseline.entry import Entry
from parity.baseline.saving import Recorded, RecordedCell
from parity.baseline.store import (
    Baseline,
    baselines_in,
    check_files,
    distinct_environments,
    holds_baseline,
    obtained_beside,
    pack,
    unpack,
    write_baseline,
)
from parity.core.environment import Difference, describe_environment
from parity.core.errors import NothingCompared
from parity.core.files import write_atomically, write_json
from parity.engine.plan import Cell
from parity.engine.result import CellResult
from parity.engine.run import part_paths
from parity.engine.workers import LOGS
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.numerics.formats import format_named

NOTE, ENTRIES = ".baseline.json", ".baseline.xz"


@dataclass(frozen=True, slots=True)
class Watch:
    """What a session is held against.

    root: the folder of all environments. baseline: that of the nearest; None where there is none yet, and `update`
    makes one. environment: what differs in it from here.
    """

    root: Path
    baseline: Baseline | None
    environment: tuple[Difference, ...]
    update: bool

    def entries(self, cell: Cell) -> dict[str, Entry]:
        """What the baseline has of a cell."""
        return {} if self.baseline is None else self.baseline.entries(cell.case.name, cell.dtype)

    @property
    def starts_anew(self) -> bool:
        """Whether all entries are written, not only those that are not as they were."""
        return self.update and (self.baseline is None or bool(self.environment))


def open_watch(root: Path, *, update: bool, checked: bool = True) -> Watch:
    """The watch on the baselines of a folder; ParityError where there is none, unless it is to be made, or not sound.

    checked: every file is read.
    """
    if update and not holds_baseline(root):
        return Watch(root, None, (), update)
    baselines = baselines_in(root)
    for one in baselines if checked else ():
        check_files(one)
    return Watch(root, *choose_baseline(baselines, describe_environment()), update)


def note(watch: Watch, cell: Cell, result: CellResult, traces: Path, folder: Path, libraries: Libraries) -> None:
    """Hold the traces of a cell against the baseline, and leave what came out in the folder of the session."""
    recorded = tuple(
        Recorded(cell.case.name, cell.dtype, one.name, None if one.failure else traces / one.name, one.failure)
        for one in result.outcomes
    )
    candidates = {candidate.name: candidate for candidate in cell.candidates}
    held = [
        *hold_cell(
            RecordedCell(cell.case, cell.dtype, recorded),
            watch.entries(cell),
            candidates,
            libraries,
            every=watch.starts_anew,
        )
    ]
    entries = [entry for _, entry in held if entry is not None]
    environments = distinct_environments(entries)
    told = {
        "environments": environments,
        "identical": {one.implementation: one.compared for one, entry in held if entry is None and one.compared},
        "failed": {one.implementation: one.detail for one, _ in held if one.status is Status.FAILED},
    }
    note_path, entries_path = _paths(folder, cell)
    write_atomically(entries_path, pack(entries, environments))
    write_json(note_path, told)


def noted(watch: Watch, cell: Cell, folder: Path) -> tuple[tuple[Drift, Entry | None], ...]:
    """What `note` left of a cell, with the entries that are new; empty where the cell was not run."""
    note_path, entries_path = _paths(folder, cell)
    place = cell.case.name, cell.dtype
    if not note_path.exists():
        return ()
    told = json.loads(note_path.read_text(encoding="utf-8"))
    before = watch.entries(cell)
    found: list[tuple[Drift, Entry | None]] = [
        *((Drift(*place, name, Status.IDENTICAL, "", compared), None) for name, compared in told["identical"].items()),
        *((Drift(*place, name, Status.FAILED, reason), None) for name, reason in told["failed"].items()),
    ]
    for entry in unpack(entries_path.read_bytes(), *place, told["environments"]):
        old = before.get(entry.implementation)
        if old is None:
            found.append((Drift(*entry.place, Status.MISSING, "the baseline has no such entry"), entry))
        else:
            found.append((drift(old, entry, Inputs(cell.case, format_named(cell.dtype))), entry))
    return tuple(found)


def conclude(watch: Watch, cells: Sequence[Cell], folder: Path) -> Checked:
    """All that a session found, which is written into the baseline, or beside it as obtained; the notes are removed.

    NothingCompared where there is no baseline, and nothing that could make one.
    """
    held = [noted(watch, cell, folder) for cell in cells]
    news = [tuple(entry for _, entry in each if entry is not None) for each in held]
    drifts = [one for each in held for one, _ in each]
    for path in (path for cell in cells for path in _paths(folder, cell)):
        path.unlink(missing_ok=True)
    if watch.baseline is None:
        if not any(news):
            raise NothingCompared("nothing was recorded: there is no baseline to write")
        written = write_baseline(watch.root, news)
        return Checked(written, tuple(drifts), (), written.folder)
    drifts += _unused(watch.baseline, cells)
    checked = Checked(watch.baseline, tuple(drifts), watch.environment, None)
    return with_news(checked, news, obtained_beside(watch.root), update=watch.update)


def _unused(baseline: Baseline, cells: Iterable[Cell]) -> Iterable[Drift]:
    asked = {(cell.case.name, cell.dtype, one.name) for cell in cells for one in cell.candidates}
    for place in baseline.places():
        if place not in asked:
            yield Drift(*place, Status.UNUSED, "nothing asked for it")


def _paths(folder: Path, cell: Cell) -> tuple[Path, Path]:
    stem = folder / LOGS / part_paths(folder, cell.name)[0].stem
    return Path(f"{stem}{NOTE}"), Path(f"{stem}{ENTRIES}")
