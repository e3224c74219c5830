"""Releases in order, each held against the one before it: since when an Adam is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from parity.baseline.drift import Status
from parity.baseline.side import Side
from parity.baseline.upgrade import Upgraded, hold_sides
from parity.case.case import Case
from parity.core.errors import NothingCompared


@dataclass(frozen=True, slots=True)
class Station:
    """A release, or whatever else was recorded as a side. side: None where nothing was, and why then says so."""

    name: str
    side: Side | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Stations, oldest first. name: of its own among others. title: what they are releases of.

    command: the words that record it. steps: by the name of a station, what it changed of the recorded one before it;
    none of one that has nothing in common with that.
    """

    name: str
    title: str
    command: tuple[str, ...]
    stations: tuple[Station, ...]
    steps: dict[str, Upgraded]

    @property
    def recorded(self) -> tuple[Station, ...]:
        """Those of which there is something."""
        return tuple(one for one in self.stations if one.side is not None)

    @property
    def implementations(self) -> tuple[str, ...]:
        """Every one that some station has, or was asked for there."""
        sides = [one.side for one in self.recorded if one.side is not None]
        there = [name for side in sides for _, _, name in side.baseline.places()]
        return tuple(dict.fromkeys([*sorted(there), *(name for side in sides for name in side.unmet)]))

    @property
    def compared(self) -> int:
        """Digests that were compared."""
        return sum(one.checked.compared for one in self.steps.values())


def lineage_of(
    name: str, title: str, command: tuple[str, ...], stations: Sequence[Station], cases: Iterable[Case]
) -> Lineage:
    """Hold every recorded station against the one before it.

    cases: those there are; of a change in another one the size is not told.
    """
    known = tuple(cases)
    steps = {}
    for (_, old), (after, new) in pairwise((one.name, one.side) for one in stations if one.side is not None):
        with suppress(NothingCompared):
            steps[after] = hold_sides(old, new, known)
    return Lineage(name, title, command, tuple(stations), steps)


def entries_of(station: Station, implementation: str) -> dict[str, int]:
    """How many entries of an implementation a station has, by dtype; nothing where it has none."""
    found: dict[str, int] = {}
    for _, dtype, name in station.side.baseline.places() if station.side is not None else ():
        if name == implementation:
            found[dtype] = found.get(dtype, 0) + 1
    return found


def same_since(lineage: Lineage, implementation: str) -> dict[str, str]:
    """By dtype the first station from which on every entry of the newest one is there, and no bit of it changed.

    A dtype that the newest station does not have is left out.
    """
    recorded = lineage.recorded
    found: dict[str, str] = {}
    for dtype in entries_of(recorded[-1], implementation) if recorded else ():
        found[dtype] = recorded[-1].name
        for before, after in reversed([*pairwise(recorded)]):
            step = lineage.steps.get(after.name)
            if step is None or {*_statuses(step, implementation, dtype)} != {Status.IDENTICAL}:
                break
            found[dtype] = before.name
    return found


def _statuses(step: Upgraded, implementation: str, dtype: str) -> Iterator[Status]:
    return (one.status for one in step.checked.drifts if (one.implementation, one.dtype) == (implementation, dtype))
