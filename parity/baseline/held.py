"""Two baselines held against each other, without running anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parity.baseline.check import Checked
from parity.baseline.drift import Drift, Status, drift
from parity.baseline.entry import Entry
from parity.baseline.store import Baseline
from parity.baseline.surroundings import nearest_environment
from parity.case.case import Case
from parity.core.errors import NothingCompared
from parity.explain.inputs import Inputs
from parity.numerics.formats import format_named


def hold(before: Baseline, after: Baseline, cases: Mapping[str, Case]) -> Checked:
    """What became of every entry of the first baseline in the second.

    cases: by name, those there are; a change in another case is told without its size. Entries that only the second
    has are missing in the first, those that only the first has are unused. NothingCompared where no two entries are
    of the same case, dtype and implementation.
    """
    drifts = tuple(one for cell in sorted({*before.cells, *after.cells}) for one in _cell(before, after, cell, cases))
    _, environment = nearest_environment([before.environments], after.environments[0])
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
