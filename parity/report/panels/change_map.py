"""What became of entries as a map: implementations by releases, or by dtypes where there is one release only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.baseline.drift import GREEN, Status
from parity.numerics.formats import FORMATS
from parity.report.panels.documents import Held, HeldEntry, HeldMatrix
from parity.report.panels.heat import heat_of


@dataclass(frozen=True, slots=True)
class ChangeColumn:
    """A release or a dtype. why: there is nothing of a release, empty where there is. same: nothing in it changed, and
    everything could be told; changed: something did."""

    name: str
    why: str
    same: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class ChangeField:
    """The entries of one implementation in one column.

    counts: by what became of them, in the order of `Status`. Of those that changed: first, the earliest step;
    explained, how many are to the last bit; ulp, lr, the weights at their worst; heat, the level of lr. worst: of the
    entries that are not identical, the one to look at first; None where all are.
    """

    counts: tuple[tuple[Status, int], ...]
    first: int | None
    explained: int
    ulp: int
    lr: float
    heat: int
    worst: HeldEntry | None

    @property
    def entries(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.counts)


@dataclass(frozen=True, slots=True)
class ChangeMap:
    """Fields by implementation and the name of a column; a column lacks implementations of which it has no entry."""

    columns: tuple[ChangeColumn, ...]
    rows: Mapping[str, Mapping[str, ChangeField]]


def weights_of(entry: HeldEntry) -> tuple[float, int]:
    """How far the weights of an entry moved, in units of lr, then in ULP; less than nothing where nobody knows."""
    return (-1.0, -1) if entry.change is None else entry.change.weights[::-1]


def map_of_releases(matrix: HeldMatrix) -> ChangeMap:
    """A column for every release, in order."""
    columns = [(one, matrix.releases[one]) for one in matrix.order]
    return _mapped(
        [(name, found.why, () if found.held is None else found.held.entries) for name, found in columns],
    )


def map_of_dtypes(held: Held) -> ChangeMap:
    """A column for every dtype, by precision."""
    there = {one.dtype for one in held.entries}
    dtypes = [*(one for one in FORMATS if one in there), *sorted(there - {*FORMATS})]
    return _mapped([(dtype, "", [one for one in held.entries if one.dtype == dtype]) for dtype in dtypes])


def _mapped(columns: Sequence[tuple[str, str, Sequence[HeldEntry]]]) -> ChangeMap:
    names = dict.fromkeys(one.implementation for _, _, entries in columns for one in entries)
    rows = {
        name: {
            column: change_field([one for one in entries if one.implementation == name])
            for column, _, entries in columns
            if any(one.implementation == name for one in entries)
        }
        for name in names
    }
    return ChangeMap(tuple(_column(*one) for one in columns), rows)


def _column(name: str, why: str, entries: Sequence[HeldEntry]) -> ChangeColumn:
    statuses = {one.status for one in entries}
    # A release that could not be held has no entry, and is not the same for that.
    return ChangeColumn(name, why, bool(statuses) and statuses <= GREEN, Status.CHANGED in statuses)


def change_field(entries: Sequence[HeldEntry]) -> ChangeField:
    """Fold entries."""
    counted = Counter(one.status for one in entries)
    changes = [one.change for one in entries if one.change is not None]
    ulp, lr = (max((one.weights[place] for one in changes), default=0) for place in (0, 1))
    return ChangeField(
        counts=tuple((status, counted[status]) for status in Status if counted[status]),
        first=min((one.first_step for one in changes), default=None),
        explained=sum(one.explained for one in changes),
        ulp=int(ulp),
        lr=float(lr),
        heat=heat_of(float(lr)),
        worst=max((one for one in entries if one.status is not Status.IDENTICAL), key=weights_of, default=None),
    )
