"""What a bisection searches, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass

from parity.baseline.bisection import Decision, Suspects
from parity.baseline.upgrade import Upgraded
from parity.core.shown import Shown


@dataclass(frozen=True, slots=True)
class Range:
    """What is searched: releases of a package from a good one to a bad one, with pins beside. pre: pre-releases too."""

    package: str
    good: str
    bad: str
    beside: tuple[str, ...] = ()
    pre: bool = False


@dataclass(frozen=True, slots=True)
class Bisected(Shown):
    """What was found.

    releases: from good to bad. decisions: in the order in which they were made. suspects: one where the first release
    that changes is known, several where nobody could tell of those before the last of them. step: the last that is
    the same held against the last suspect, None where a user's own test decided. command: the words that ask it again.
    """

    asked: Range
    releases: tuple[str, ...]
    decisions: tuple[Decision, ...]
    suspects: Suspects
    step: Upgraded | None
    command: tuple[str, ...] = ()

    @property
    def first(self) -> str | None:
        """The first release that changes, None where it is not known."""
        return self.suspects.releases[0] if len(self.suspects.releases) == 1 else None

    @property
    def exit_code(self) -> int:
        """0 where the release was found."""
        return 0 if self.first else 1
