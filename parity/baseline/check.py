"""Holding what a selection gives now against a baseline."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity.baseline.drift import GREEN, Drift, Status, drift
from parity.baseline.entry import Entry, shortened
from parity.baseline.saving import OnCell, Recorded, RecordedCell, Selection, kept, recorded_cells
from parity.baseline.store import Baseline, write_baseline
from parity.case.case import Case
from parity.comparison.trace import Trace, read_trace
from parity.core.environment import Difference, nearest_environment, together
from parity.core.errors import NothingCompared
from parity.core.shown import Shown
from parity.engine.plan import Candidate
from parity.engine.protocol import SKIPPING_KINDS
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.numerics.formats import format_named


@dataclass(frozen=True, slots=True)
class Checked(Shown):
    """What became of every entry that was asked for, and of those that nothing asked for.

    baseline: that was held against; environment: what differs in it from now. obtained: where the new entries of all
    that is not identical were written, None where all is. command: the words that ask it again.
    """

    baseline: Baseline
    drifts: tuple[Drift, ...]
    environment: tuple[Difference, ...]
    obtained: Path | None
    command: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where something is not as it was."""
        return 0 if all(one.status in GREEN for one in self.drifts) else 1

    @property
    def counts(self) -> dict[Status, int]:
        """Entries by what became of them, those statuses that occur."""
        counted = Counter(one.status for one in self.drifts)
        return {status: counted[status] for status in Status if counted[status]}

    @property
    def compared(self) -> int:
        """Digests that were compared."""
        return sum(one.compared for one in self.drifts)


def choose_baseline(baselines: Sequence[Baseline], here: dict[str, object]) -> tuple[Baseline, tuple[Difference, ...]]:
    """The baseline of this environment, or of the one nearest to it, and what differs."""
    place, found = nearest_environment([one.environments for one in baselines], here)
    return baselines[place], found


def check(
    selection: Selection,
    baseline: Baseline,
    environment: tuple[Difference, ...],
    obtained: Path,
    *,
    update: bool = False,
    whole: bool = True,
    on_cell: OnCell = lambda case, dtype: None,
) -> Checked:
    """Record a selection and hold every entry against the baseline's.

    obtained: the folder in which entries that are missing or not the same are written, as a baseline of their own.
    update: they are written into the baseline instead, or, in another environment, as its baseline, with all others.
    whole: the selection is everything, so that whatever else the baseline holds is unused. NothingCompared where not
    one digest was compared.
    """
    drifts: list[Drift] = []
    asked: set[tuple[str, str, str]] = set()
    news: list[tuple[Entry, ...]] = []
    with (
        tempfile.TemporaryDirectory(prefix="parity-") as scratch,
        Libraries(selection.timeout, selection.python, selection.variables) as libraries,
    ):
        candidates = {candidate.name: candidate for candidate in selection.candidates}
        for cell in recorded_cells(selection, Path(scratch), on_cell):
            entries = baseline.entries(cell.case.name, cell.dtype)
            held = [*hold_cell(cell, entries, candidates, libraries, every=update and bool(environment))]
            drifts += [one for one, _ in held]
            news.append(tuple(new for _, new in held if new is not None))
            asked |= {(cell.case.name, cell.dtype, one.implementation) for one in cell.recorded}
    drifts += _unused(baseline, selection, asked, whole=whole)
    checked = Checked(baseline, tuple(drifts), environment, None)
    if not checked.compared and checked.exit_code == 0:
        raise NothingCompared("nothing was compared with the baseline")
    return with_news(checked, news, obtained, update=update)


def with_news(checked: Checked, news: Sequence[Sequence[Entry]], obtained: Path, *, update: bool) -> Checked:
    """Write the new entries of cells where `check` says, and note where that is."""
    if not any(news):
        return checked
    if update:
        root = checked.baseline.folder.parent
        written = write_baseline(root, news, None if checked.environment else checked.baseline)
    else:
        written = write_baseline(obtained, news)
    return replace(checked, obtained=written.folder)


def hold_cell(
    cell: RecordedCell,
    entries: dict[str, Entry],
    candidates: dict[str, Candidate],
    libraries: Libraries,
    *,
    every: bool,
) -> Iterator[tuple[Drift, Entry | None]]:
    """Every implementation of a cell, and its new entry where that is not the old one, or where every one is asked."""
    inputs = Inputs(cell.case, format_named(cell.dtype))
    for one in cell.recorded:
        before = entries.get(one.implementation)
        if one.folder is None:
            failed = _failed(one, before)
            if failed is not None:
                yield failed, None
            continue
        trace = read_trace(one.folder)
        quick = None if before is None else drift(before, _seen(trace, before), None)
        if quick is not None and quick.status is Status.IDENTICAL and not every:
            yield quick, None
            continue
        after = kept(trace, candidates[one.implementation], inputs, libraries)
        if before is None:
            missing = Drift(*after.place, Status.MISSING, "the baseline has no such entry")
            yield missing, after
        else:
            yield drift(before, after, inputs), after


def _seen(trace: Trace, before: Entry) -> Entry:
    """What a trace shows without a prediction: enough to tell whether anything differs."""
    return replace(
        before,
        case_digest=trace.case_digest,
        input_digest=trace.input_digest,
        steps=trace.steps,
        hyper=trace.hyper,
        digests=shortened(trace),
        environment=trace.environment,
    )


def _failed(one: Recorded, before: Entry | None) -> Drift | None:
    """None for what an implementation says it cannot do, where it could not when the baseline was saved."""
    assert one.failure is not None
    if before is None and one.failure.kind in SKIPPING_KINDS:
        return None
    there = "it was recorded in the baseline" if before is not None else "the baseline has no such entry"
    return Drift(one.case, one.dtype, one.implementation, Status.FAILED, f"{one.failure.reason}; {there}")


def _unused(
    baseline: Baseline, selection: Selection, asked: set[tuple[str, str, str]], *, whole: bool
) -> Iterator[Drift]:
    cases = {case.name for case in selection.cases}
    names = {candidate.name for candidate in selection.candidates}
    for case, dtype, name in baseline.places():
        among = case in cases and dtype in selection.dtypes and name in names
        if (case, dtype, name) not in asked and (whole or among):
            yield Drift(case, dtype, name, Status.UNUSED, "nothing asked for it")


def hold(before: Baseline, after: Baseline, cases: Mapping[str, Case]) -> Checked:
    """What became of every entry of the first baseline in the second.

    cases: by name, those there are; a change in another case is told without its size. Entries that only the second
    has are missing in the first, those that only the first has are unused. NothingCompared where no two entries are
    of the same case, dtype and implementation.
    """
    drifts = tuple(one for cell in sorted({*before.cells, *after.cells}) for one in _cell(before, after, cell, cases))
    _, environment = nearest_environment([together(before.environments)], together(after.environments)[0])
    if not any(one.status in (Status.IDENTICAL, Status.CHANGED, Status.INPUTS_CHANGED) for one in drifts):
        raise NothingCompared(f"nothing was compared: {before.folder} and {after.folder} have no entry in common")
    return Checked(before, drifts, environment, None)


def _cell(before: Baseline, after: Baseline, cell: tuple[str, str], cases: Mapping[str, Case]) -> Iterator[Drift]:
    old, new = before.entries(*cell), after.entries(*cell)
    inputs = None
    for name in sorted({*old, *new}):
        if name not in new:
            yield Drift(*cell, name, Status.UNUSED, "only the first has it")
        elif name not in old:
            yield Drift(*cell, name, Status.MISSING, "only the second has it")
        else:
            inputs = inputs or _inputs(new[name], cases)
            yield drift(old[name], new[name], inputs)


def _inputs(entry: Entry, cases: Mapping[str, Case]) -> Inputs | None:
    case = cases.get(entry.case)
    if case is None or case.digest() != entry.case_digest:
        return None
    return Inputs(case, format_named(entry.dtype))
