"""What every implementation of a cell was given: its start and gradients, made again from the case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from parity.adam.gradients import Block
from parity.case.case import Case
from parity.case.gradients import fill_gradients, fill_start, fill_weights
from parity.comparison.trace import Trace
from parity.core.errors import ParityError
from parity.core.layout import Layout
from parity.core.state import Rows, Start
from parity.numerics.formats import Format, formats_in, row_format

BLOCK = 1 << 16
"""Elements of one block, of all its steps together."""

KEPT = 1 << 24


@dataclass(frozen=True)
class Inputs:
    """A case in one dtype; gradients of up to `KEPT` bytes are made once and kept."""

    case: Case
    format: Format
    _kept: list[Block] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def digest(self) -> str:
        """Of the question, which every trace has to answer."""
        return self.case.digest()

    @cached_property
    def layout(self) -> Layout:
        """How the parameters stand in a row; where one has a dtype of its own, all say theirs."""
        layout = self.case.layout()
        if not layout.mixed:
            return layout
        formats = formats_in(layout, self.format)
        return Layout(tuple(replace(one, dtype=own.name) for one, own in zip(layout.parameters, formats, strict=True)))

    @property
    def counts(self) -> np.ndarray:
        """How many steps each parameter has counted before the first, (parameters,)."""
        return np.array([0 if one.start is None else one.start.steps for one in self.case.parameters], np.int64)

    def start(self) -> Start:
        """What all begin with, in the dtype; moments are zero where the case says nothing else."""
        stored = row_format(self.layout, self.format)
        w, m, v, vmax = np.zeros((4, self.layout.size), stored.unsigned)
        fill_weights(self.case, self.format, w)
        counts = fill_start(self.case, self.format, {"m": m, "v": v, "vmax": vmax})
        return Start(Rows(*(row.view(stored.dtype) for row in (w, m, v, vmax))), counts)

    def blocks(self, last: int | None = None) -> Iterator[Block]:
        """The gradients of all steps, or of those to `last`, as many at a time as make a block; not to be written."""
        end = self.case.steps if last is None else min(last, self.case.steps)
        if self.layout.size * self.case.steps * self.format.dtype.itemsize > KEPT:
            yield from self._made(end)
            return
        if not self._kept:
            self._kept.extend(self._made(self.case.steps))
        for block in self._kept:
            cut = slice(max(0, end + 1 - block.steps[0]))
            if block.steps[cut]:
                yield Block(block.steps[cut], block.gradients[cut], block.present[cut])

    def _made(self, last: int) -> Iterator[Block]:
        layout = self.layout
        stored = row_format(layout, self.format)
        names = [parameter.name for parameter in layout.parameters]
        height = max(1, BLOCK // layout.size)
        average = self.case.stages.average
        if average is not None and average.overwrite:
            # Weights are overwritten at the end of a block.
            height = average.overwrite if average.overwrite <= height else 1
        end = last + 1
        for first in range(1, end, height):
            steps = range(first, min(first + height, end))
            rows = np.zeros((len(steps), layout.size), stored.unsigned)
            present = np.ones((len(steps), len(names)), bool)
            for place, step in enumerate(steps):
                absent = fill_gradients(self.case, self.format, step, rows[place])
                present[place] = [name not in absent for name in names]
            yield Block(steps, rows.view(stored.dtype), present)

    def check(self, trace: Trace) -> None:
        """ParityError where a trace answers another question."""
        if trace.case_digest != self.digest or trace.format is not self.format:
            raise ParityError(
                f"{trace.folder}: a trace of {trace.case} in {trace.format.name}, "
                f"which is not the case {self.case.name} in {self.format.name} as it stands now"
            )
