"""Binary search for the first release that changes, where of some releases nobody can tell. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What is said of a release, held against the good one."""

    SAME = "same"
    CHANGED = "changed"
    UNTOLD = "cannot tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, and in a few words why."""

    release: str
    answer: Answer
    why: str


@dataclass(frozen=True, slots=True)
class Suspects:
    """The last release that is the same, and those after it up to the first that changed: one of them changes."""

    last: str
    releases: tuple[str, ...]


def suspects(releases: Sequence[str], answers: Mapping[str, Answer]) -> Suspects:
    """Where the search stands.

    releases: oldest first; the first is the same, the last changed. answers: by release, of some or all of them.
    """
    end = len(releases) - 1
    first = next(place for place in range(1, end + 1) if place == end or answers.get(releases[place]) is Answer.CHANGED)
    last = max(place for place in range(first) if not place or answers.get(releases[place]) is Answer.SAME)
    return Suspects(releases[last], tuple(releases[last + 1 : first + 1]))


def next_release(releases: Sequence[str], answers: Mapping[str, Answer]) -> str | None:
    """The undecided suspect nearest to their middle, None where there is none."""
    among = suspects(releases, answers).releases
    middle = (len(among) - 2) / 2
    open_ones = [(abs(place - middle), place) for place, one in enumerate(among[:-1]) if one not in answers]
    return among[min(open_ones)[1]] if open_ones else None
