"""Which row of an array file a step stands in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BATCH_BYTES = 1 << 20
"""Bytes of one quantity that a worker makes at a time: messages stay few, rows stay in cache."""

OVERLAP_BYTES = 4 << 20
"""Rows up to this size are double-buffered, so that workers go on while a batch is compared."""


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that exist at a time: all of a kept trace, otherwise a ring of a few.

    steps: of the run. batch: steps that are advanced and compared together. rows: of the files.
    Row 0 of a kept trace is the initial state; a ring has no row for it.
    """

    steps: int
    batch: int
    rows: int

    @property
    def kept(self) -> bool:
        """Whether every step stays."""
        return self.rows == self.steps + 1

    def row(self, step: int) -> int:
        """The row of a 1-based step; steps of one batch stand in consecutive rows."""
        return step if self.kept else (step - 1) % self.rows

    def batches(self) -> list[range]:
        """All steps, 1-based, batch by batch."""
        return [range(first, min(first + self.batch, self.steps + 1)) for first in range(1, self.steps + 1, self.batch)]

    @property
    def overlaps(self) -> bool:
        """Whether a batch may be made while the one before is still read."""
        return self.kept or self.rows >= 2 * self.batch


def plan_window(steps: int, row_bytes: int, keep: bool, ends: Sequence[int] = ()) -> Window:
    """A window whose memory depends on the row size only, not on the number of steps.

    ends: steps with which a batch has to end.
    """
    batch = max(1, min(steps, BATCH_BYTES // max(1, row_bytes)))
    if ends:
        apart = math.gcd(*ends)
        batch = next(size for size in range(min(batch, apart), 0, -1) if apart % size == 0)
    if keep:
        return Window(steps, batch, steps + 1)
    rows = batch if row_bytes > OVERLAP_BYTES else 2 * batch
    if rows == steps + 1:
        rows += 1
    return Window(steps, batch, rows)
