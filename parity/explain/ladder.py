"""The ladder from one Adam to another: one choice switched after another, until no bit differs."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from parity.comparison.trace import Trace
from parity.explain.causes import Family
from parity.explain.choices import Switch, switches
from parity.explain.inputs import Inputs
from parity.explain.residual import Difference, Tally
from parity.explain.running import Adam, Rows, free_run


@dataclass(frozen=True, slots=True)
class Rung:
    """One choice switched. choice: '' for actual as it is.

    changed: elements whose bits this switch changed. moved: by how much it moved w at most, in units of lr.
    differences: what still differs from expected's trace, by quantity; max_steps: of w, in units of lr.
    """

    choice: str
    family: Family | None
    detail: str
    changed: int
    moved: float
    differences: tuple[Difference, ...]
    max_steps: float

    @property
    def differing(self) -> int:
        """Elements of all quantities that still differ."""
        return sum(one.differing for one in self.differences)

    @property
    def max_ulp(self) -> int:
        """Largest distance left in any quantity."""
        return max(one.max_ulp for one in self.differences)

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "choice": self.choice,
            "family": None if self.family is None else str(self.family),
            "detail": self.detail,
            "changed": self.changed,
            "moved_lr": self.moved,
            "left": {
                "differing": self.differing,
                "compared": sum(one.compared for one in self.differences),
                "max_ulp": self.max_ulp,
                "max_lr": self.max_steps,
                "quantities": [asdict(one) for one in self.differences],
            },
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Rung:
        """The inverse of `to_json`."""
        left = fields["left"]
        return _RUNG.validate_python(
            {
                **{name: fields[name] for name in ("choice", "family", "detail", "changed")},
                "moved": fields["moved_lr"],
                "differences": left["quantities"],
                "max_steps": left["max_lr"],
            }
        )


_RUNG = TypeAdapter(Rung)


@dataclass
class _Climber:
    """A mixture on its way: what it changed, and what it leaves."""

    switch: Switch | None
    left: list[Tally]
    changed: list[Tally]
    moved: float = 0.0
    max_steps: float = 0.0

    def rung(self) -> Rung:
        switch = self.switch
        return Rung(
            choice="" if switch is None else switch.choice,
            family=None if switch is None else switch.family,
            detail="" if switch is None else switch.detail,
            changed=sum(one.differing for one in self.changed),
            moved=self.moved,
            differences=tuple(one.difference for one in self.left),
            max_steps=self.max_steps,
        )


def ladder(actual: Adam, expected: Adam, trace: Trace, inputs: Inputs) -> tuple[Rung, ...]:
    """Free-running orbits of mixtures of two Adams, each held against expected's recorded trace.

    The first rung is actual, the last is expected: where its twin is right, 0 elements differ there. All run side by
    side, so memory holds one block of each.
    """
    inputs.check(trace)
    switched = list(switches(actual, expected, inputs.format, inputs.case.steps))
    quantities = [name for name in ("m", "v", *(["vmax"] if expected.hyper.amsgrad else []), "w")
                  if name in trace.quantities]  # fmt: skip

    def tallies() -> list[Tally]:
        return [Tally(name, inputs.layout) for name in quantities]

    climbers = [_Climber(one, tallies(), tallies()) for one in (None, *switched)]
    adams = [actual, *(one.adam for one in switched)]
    feeds = itertools.tee(inputs.blocks(), len(adams))
    weights = inputs.weights()
    runs = [free_run(adam, weights, inputs.layout, feed) for adam, feed in zip(adams, feeds, strict=True)]
    arrays = {name: trace.array(name) for name in quantities}
    with np.errstate(all="ignore"):
        for made in zip(*runs, strict=True):
            steps = made[0][0].steps
            lr = np.array([expected.hyper.lr_at(step) for step in steps])
            recorded = {name: array[steps[0] : steps[-1] + 1] for name, array in arrays.items()}
            before: Rows | None = None
            for climber, (_, rows) in zip(climbers, made, strict=True):
                for tally in climber.left:
                    tally.add(steps, rows[tally.quantity], recorded[tally.quantity])
                climber.max_steps = max(climber.max_steps, in_steps(rows["w"], recorded["w"], lr))
                if before is not None:
                    for tally in climber.changed:
                        tally.add(steps, rows[tally.quantity], before[tally.quantity])
                    climber.moved = max(climber.moved, in_steps(rows["w"], before["w"], lr))
                before = rows
    return tuple(climber.rung() for climber in climbers)


def in_steps(actual: np.ndarray, expected: np.ndarray, lr: np.ndarray) -> float:
    """Largest finite ``|actual - expected| / lr`` of rows (steps, size); lr: (steps,), where 0 does not count."""
    gaps = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    largest = np.where(np.isfinite(gaps), gaps, 0.0).max(axis=1, initial=0.0)
    return float(np.max(np.where(lr > 0, largest / np.where(lr > 0, lr, 1.0), 0.0), initial=0.0))
