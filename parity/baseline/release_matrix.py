"""Implementations by releases: how each release stands to the newest one, or to a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from parity.baseline.drift import GREEN, Status
from parity.baseline.upgrade import Upgraded
from parity.core.shown import Shown


@dataclass(frozen=True, slots=True)
class Column:
    """A release. held: against the reference, None where there is nothing of it; why: then says so."""

    release: str
    held: Upgraded | None
    why: str = ""

    def counted(self, implementation: str) -> Mapping[Status, int]:
        """How many entries of an implementation by what became of them."""
        drifts = self.held.checked.drifts if self.held is not None else ()
        return Counter(one.status for one in drifts if one.implementation == implementation)


@dataclass(frozen=True, slots=True)
class ReleaseMatrix(Shown):
    """Releases of a package, oldest first.

    reference: what they are held against, a release or a baseline. command: the words that ask it again.
    """

    package: str
    reference: str
    columns: tuple[Column, ...]
    command: tuple[str, ...] = ()

    @property
    def implementations(self) -> tuple[str, ...]:
        """Every one that some release or the reference has."""
        held = [one.held for one in self.columns if one.held is not None]
        return tuple(dict.fromkeys(one.implementation for upgraded in held for one in upgraded.checked.drifts))

    @property
    def compared(self) -> int:
        """Digests that were compared."""
        return sum(one.held.checked.compared for one in self.columns if one.held is not None)

    @property
    def exit_code(self) -> int:
        """1 where something is not the same, or a release could not be held."""
        same = all(
            one.held is not None and all(drift.status in GREEN for drift in one.held.checked.drifts)
            for one in self.columns
        )
        return 0 if same else 1
