"""Many steps of one tensor, each from the one before.

Most of a step needs nothing of the step before: that is computed for all steps at once, only the rest step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from parity.adam.arithmetic import Arithmetic, Setting, parts
from parity.adam.convention import Convention
from parity.adam.dependencies import Dependencies, Group, Source, dependencies
from parity.adam.evaluation import ArraySquareRoot, Evaluator, Operand, evaluator
from parity.adam.lock_step import Rows
from parity.adam.scalars import Scalars, scalars
from parity.adam.stages import programs
from parity.core.hyper import Hyper
from parity.numerics.flush import flush_subnormals
from parity.numerics.formats import format_of


def free_steps(
    start: Rows,
    gradients: np.ndarray,
    hyper: Hyper,
    convention: Convention,
    arithmetic: Arithmetic,
    lr: Sequence[float],
    counts: Sequence[int],
    library: ArraySquareRoot | None = None,
    setting: Setting | None = None,
) -> Rows:
    """The states after each step, (steps, size), bit for bit those of `parity.adam.step`.

    start: the state before, rows (size,); gradients: (steps, size), one dtype; lr, counts: step size and t of the bias
    correction, (steps,). library: see `parity.adam.evaluation`. setting: of the tensor, where omitted (size,) beside
    others. A row of NaN may have another payload.
    """
    shape = gradients.shape
    after = Rows(*(None if row is None else np.empty(shape, row.dtype) for row in start))  # type: ignore[arg-type]
    stored = format_of(start.w)
    factors = scalars(hyper, convention, arithmetic.factors, lr, counts, stored)
    compute = evaluator(arithmetic, stored, library)
    has_eps = bool(np.any(factors["eps"] != 0))
    with np.errstate(all="ignore"):
        for place, stages in parts(arithmetic, setting or Setting(shape[1:], 2)):
            step = dependencies(programs(stages, hyper, has_eps), hyper.amsgrad)
            rows = {name: row[place] for name, row in start._asdict().items() if row is not None}
            made = _Steps(step, compute, factors, rows, gradients[:, place]).run()
            for name, states in made.items():
                getattr(after, name)[:, place] = states
    return after


@dataclass
class _Steps:
    """One piece of a tensor on its way; values: of operations, (steps, size), by place.

    before: arrays before every step, in the working format, by name; filled in as soon as their ends are known.
    """

    step: Dependencies
    compute: Evaluator
    factors: Scalars
    start: Mapping[str, np.ndarray]
    gradients: np.ndarray
    values: dict[int, np.ndarray] = field(default_factory=dict)
    before: dict[str, np.ndarray] = field(default_factory=dict)

    def run(self) -> dict[str, np.ndarray]:
        """The arrays after every step, in the stored format."""
        shape, working = self.gradients.shape, self.compute.working.dtype
        self.before["g"] = self._read(self.gradients)
        for name, row in self.start.items():
            self.before[name] = np.empty(shape, working)
            self.before[name][:] = self._read(row)
        spare = np.empty(shape, working)
        for group in self.step.groups:
            for place in group.places:
                self.values[place] = np.empty(shape, working)
            if group.recurrent:
                self._one_by_one(group, spare)
            else:
                self._at_once(group.places[0], spare)
        return {name: self._stored(self.values[end]) if (end := self.step.ends.get(name)) is not None
                else self._stored(self.before[name]) for name in self.start}  # fmt: skip

    def _at_once(self, place: int, spare: np.ndarray) -> None:
        node = self.step.nodes[place]
        operands = [self._operand(source) for source in node.sources]
        self.compute.carry_out(node.operation, operands, self.values[place], spare)
        for name, end in self.step.ends.items():
            if end == place:
                self.before[name][1:] = self._stored(self.values[place][:-1])

    def _one_by_one(self, group: Group, spare: np.ndarray) -> None:
        every = [
            (self.step.nodes[place].operation, [self._rows(source) for source in self.step.nodes[place].sources],
             self.values[place])
            for place in group.places
        ]  # fmt: skip
        closing = [(self.before[name], self.values[end]) for name, end in self.step.ends.items() if end in group.places]
        last = len(self.gradients) - 1
        for index in range(last + 1):
            for operation, operands, results in every:
                now = [one[index] for one in operands]
                self.compute.carry_out(operation, now, results[index], spare[index])
            if index < last:
                for before, results in closing:
                    before[index + 1] = self._stored(results[index])

    def _operand(self, source: Source) -> Operand:
        """For all steps: (steps, size), or what broadcasts to it."""
        if isinstance(source, int):
            return self.values[source]
        if isinstance(source, float):
            number: np.generic = self.compute.working.dtype.type(source)
            return number
        return self.before[source] if source in self.before else self.factors[source][:, None]

    def _rows(self, source: Source) -> np.ndarray:
        """The same with one entry a step."""
        if isinstance(source, float):
            return np.full(len(self.gradients), source, self.compute.working.dtype)
        if isinstance(source, int) or source in self.before:
            return np.asarray(self._operand(source))
        return self.factors[source]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Stored rows as a step takes them."""
        taken = np.array(rows, self.compute.working.dtype)
        return flush_subnormals(taken) if self.compute.flushes else taken

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        """Working rows as they are stored; what an operation leaves is flushed already."""
        return rows if self.compute.working is self.compute.stored else rows.astype(self.compute.stored.dtype)
