"""Entries with the same fate: one implementation in one dtype, over its cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from parity.baseline.drift import Cause, Status


class Moved(Protocol):
    """How an entry changed: as it is found out, or as it was written down."""

    @property
    def first_step(self) -> int:
        """The first whose digest differs."""

    @property
    def sentence(self) -> str:
        """What changed."""

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Choices that changed."""

    @property
    def explained(self) -> bool:
        """Whether they are all of it."""

    @property
    def weights(self) -> tuple[int, float]:
        """The largest distance of a weight, in ULP and in units of lr."""


class Fate(Protocol):
    """What became of an entry."""

    @property
    def case(self) -> str:
        """Its case."""

    @property
    def dtype(self) -> str:
        """Its dtype."""

    @property
    def implementation(self) -> str:
        """Its implementation."""

    @property
    def status(self) -> Status:
        """What became of it."""

    @property
    def detail(self) -> str:
        """In a sentence."""

    @property
    def change(self) -> Moved | None:
        """How it changed."""


FateT = TypeVar("FateT", bound=Fate)


@dataclass(frozen=True, slots=True)
class Group(Generic[FateT]):
    """What became alike of entries of one implementation and dtype. of: how many entries there are of both in all."""

    implementation: str
    dtype: str
    status: Status
    drifts: tuple[FateT, ...]
    of: int

    @property
    def first_step(self) -> int:
        """The earliest step from which on something changed; 0 where nothing did."""
        return min((one.change.first_step for one in self.drifts if one.change is not None), default=0)

    @property
    def worst(self) -> FateT:
        """The entry whose weights moved most in units of lr, else in ULP; the first where none is measured."""
        return max(self.drifts, key=lambda one: one.change.weights[::-1] if one.change is not None else (-1.0, -1))

    @property
    def reasons(self) -> tuple[tuple[str, int], ...]:
        """What is said of the entries, most frequent first, and of how many; causes of the same families count as one,
        in the words of the first."""
        words: dict[object, str] = {}
        said: Counter[object] = Counter()
        for one in self.drifts:
            text = one.detail if one.change is None else one.change.sentence
            key = tuple(cause.family for cause in one.change.causes) if one.change and one.change.explained else text
            words.setdefault(key, text)
            said[key] += 1
        return tuple((words[key], count) for key, count in said.most_common())


def grouped(drifts: Sequence[FateT]) -> tuple[Group[FateT], ...]:
    """Groups of all entries that are not identical, in their order."""
    of = Counter((one.implementation, one.dtype) for one in drifts)
    found: dict[tuple[str, str, Status], list[FateT]] = {}
    for one in drifts:
        if one.status is not Status.IDENTICAL:
            found.setdefault((one.implementation, one.dtype, one.status), []).append(one)
    return tuple(Group(*key, tuple(members), of[key[:2]]) for key, members in found.items())
