"""What `parity upgrade`, `matrix`, `bisect` and `baseline check` wrote down, as a page reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, NonNegativeInt

from parity.baseline.bisection import Decision
from parity.baseline.document import Document
from parity.baseline.drift import Cause, Status
from parity.core.environment import Difference


def _hexadecimal(text: str) -> str:
    float.fromhex(text)
    return text


Hexadecimal = Annotated[str, AfterValidator(_hexadecimal)]
"""A float as `float.hex` writes it, NaN and inf among them."""


@dataclass(frozen=True, slots=True)
class DivergenceRow:
    """One kept step of one quantity of one parameter.

    max_steps: of the weights in units of lr, None for other quantities. Values: at worst_index, new and old.
    """

    quantity: str
    parameter: str
    step: NonNegativeInt
    elements: NonNegativeInt
    differing: NonNegativeInt
    max_abs: Hexadecimal
    max_ulp: NonNegativeInt
    max_steps: Hexadecimal | None
    worst_index: int
    actual_value: Hexadecimal | None
    expected_value: Hexadecimal | None

    @property
    def lr(self) -> float:
        """In units of lr; inf where one side is NaN, 0 where it has no such unit."""
        lr = 0.0 if self.max_steps is None else float.fromhex(self.max_steps)
        return math.inf if math.isnan(lr) else lr


@dataclass(frozen=True, slots=True)
class EntryChange:
    """How new bits differ from old ones: as `parity.baseline.drift.Change` has it."""

    first_step: NonNegativeInt
    quantities: tuple[str, ...]
    sentence: str
    explained: bool
    causes: tuple[Cause, ...]
    divergence: tuple[DivergenceRow, ...]

    @property
    def worst(self) -> tuple[DivergenceRow, ...]:
        """Rows that differ: the first, then the others, the farthest first."""
        differing = [one for one in self.divergence if one.differing]
        return (*differing[:1], *sorted(differing[1:], key=lambda one: -one.max_ulp))

    @property
    def weights(self) -> tuple[int, float]:
        """The largest distance of a weight in the kept steps, in ULP and in units of lr; 0 where none differs."""
        rows = [one for one in self.worst if one.quantity == "w"]
        return max((one.max_ulp for one in rows), default=0), max((one.lr for one in rows), default=0.0)


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """What became of one entry: as `parity.baseline.drift.Drift` has it."""

    case: str
    dtype: str
    implementation: str
    status: Status
    detail: str
    compared: NonNegativeInt
    environment: tuple[Difference, ...]
    change: EntryChange | None


@dataclass(frozen=True, slots=True)
class RecordedFacts:
    """How many cells were recorded, and where."""

    cells: NonNegativeInt
    python: str
    platform: str
    processor: str


@dataclass(frozen=True, slots=True)
class HeldSide:
    """One side of an upgrade. notes: pins that stand although another package asks otherwise."""

    name: str
    recorded: RecordedFacts
    packages: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Entries held against earlier ones. before, after: None where that was a baseline of this environment."""

    baseline: str
    recorded: RecordedFacts
    exit_code: int
    compared: NonNegativeInt
    counts: Mapping[Status, int]
    environment: tuple[Difference, ...]
    entries: tuple[HeldEntry, ...]
    before: HeldSide | None = None
    after: HeldSide | None = None


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """A release of a matrix; held: None where there is nothing of it, and why says so."""

    why: str
    held: Held | None


@dataclass(frozen=True, slots=True)
class HeldMatrix:
    """Releases, in order, held against a reference."""

    package: str
    reference: str
    exit_code: int
    compared: NonNegativeInt
    order: tuple[str, ...]
    releases: Mapping[str, HeldRelease]


@dataclass(frozen=True, slots=True)
class HeldSearch:
    """A bisection: as `parity.baseline.bisection.Bisected` has it."""

    package: str
    exit_code: int
    releases: tuple[str, ...]
    decisions: tuple[Decision, ...]
    last_same: str
    first_changed: str | None
    suspects: tuple[str, ...]
    step: Held | None


Content = Held | HeldMatrix | HeldSearch

CONTENTS: Mapping[Document, Any] = {
    Document.UPGRADE: Held,
    Document.BASELINE: Held,
    Document.MATRIX: HeldMatrix,
    Document.BISECT: HeldSearch,
}


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document as it was read. version: of the parity that wrote it; command: the words that lead to it again."""

    kind: Document
    version: str
    command: tuple[str, ...]
    content: Content

    @property
    def holdings(self) -> tuple[Held, ...]:
        """All in it that was held against something."""
        match self.content:
            case Held():
                return (self.content,)
            case HeldMatrix(order=order, releases=releases):
                return tuple(held for one in order if (held := releases[one].held) is not None)
            case HeldSearch(step=step):
                return () if step is None else (step,)
