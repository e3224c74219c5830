"""The ladder from one Adam to another: one choice switched after another, until no bit differs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from parity.comparison.trace import Trace
from parity.core.hyper import Hyper
from parity.core.state import QUANTITIES
from parity.explain.causes import Family
from parity.explain.choices import Switch, switches
from parity.explain.inputs import BLOCK, Inputs
from parity.explain.residual import Difference, Tally
from parity.explain.running import Adam, Rows, free_run, in_steps, units_of
from parity.explain.split import quantities_under


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
                "quantities": _RUNG.dump_python(self, include={"differences"})["differences"],
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


class Climb(NamedTuple):
    """What a ladder is asked for: from one Adam to another, and the trace that this one is to end at."""

    actual: Adam
    expected: Adam
    trace: Trace


MOST_ROWS = 1 << 28
"""Bytes of the rows of all orbits that run side by side; a ladder that alone has more runs alone."""


def ladders(climbs: Sequence[Climb], inputs: Inputs) -> list[tuple[Rung, ...]]:
    """Free-running orbits of mixtures of two Adams, each held against expected's recorded trace.

    The first rung is actual, the last is expected: where its twin is right, 0 elements differ there. Mixtures that
    several ladders share run once. All run side by side, so memory holds one block of each.
    """
    for climb in climbs:
        inputs.check(climb.trace)
    found: list[tuple[Rung, ...]] = []
    batch: list[tuple[Climb, list[Switch]]] = []
    adams: set[Adam] = set()
    most = MOST_ROWS // (len(QUANTITIES) * max(BLOCK, inputs.layout.size) * inputs.format.dtype.itemsize)
    for climb in climbs:
        switched = list(switches(climb.actual, climb.expected, inputs.format, inputs.case.steps))
        own = {climb.actual, *(one.adam for one in switched)}
        if batch and len(adams | own) > most:
            found += _climbed(batch, inputs)
            batch, adams = [], set()
        batch.append((climb, switched))
        adams |= own
    return found + _climbed(batch, inputs)


def _climbed(batch: Sequence[tuple[Climb, list[Switch]]], inputs: Inputs) -> list[tuple[Rung, ...]]:
    gaps: dict[tuple[Adam, Adam | str, Hyper], _Gap] = {}
    for climb, switched in batch:
        steps = [climb.actual, *(one.adam for one in switched)]
        pairs: list[tuple[Adam, Adam | str]] = [*((one, climb.trace.implementation) for one in steps),
                                                *itertools.pairwise(reversed(steps))]  # fmt: skip
        for left, right in pairs:
            gaps.setdefault((left, right, climb.expected.hyper), _Gap(_quantities(climb), climb.trace))
    adams = list(dict.fromkeys(left for left, _, _ in gaps))
    arrays = {climb.trace.implementation: {name: climb.trace.array(name) for name in _quantities(climb)}
              for climb, _ in batch}  # fmt: skip
    start = inputs.start()
    feeds = itertools.tee(inputs.blocks(), len(adams))
    runs = [free_run(adam, start, inputs.layout, feed) for adam, feed in zip(adams, feeds, strict=True)]
    with np.errstate(all="ignore"):
        for made in zip(*runs, strict=True):
            steps_now = made[0][0].steps
            rows: dict[Adam | str, _Wide] = {adam: _Wide(one) for adam, (_, one) in zip(adams, made, strict=True)}
            for name, recorded in arrays.items():
                place = slice(steps_now[0], steps_now[-1] + 1)
                rows[name] = _Wide({quantity: np.array(array[place]) for quantity, array in recorded.items()})
            for (left, right, hyper), gap in gaps.items():
                gap.add(steps_now, rows[left], rows[right], units_of(hyper, steps_now))
    return [tuple(_rungs(climb, switched, gaps)) for climb, switched in batch]


def _rungs(
    climb: Climb, switched: Sequence[Switch], gaps: Mapping[tuple[Adam, Adam | str, Hyper], _Gap]
) -> Iterator[Rung]:
    hyper, before = climb.expected.hyper, climb.actual
    for switch in (None, *switched):
        adam = climb.actual if switch is None else switch.adam
        left = gaps[adam, climb.trace.implementation, hyper]
        moved = None if switch is None else gaps[adam, before, hyper]
        yield Rung(
            choice="" if switch is None else switch.choice,
            family=None if switch is None else switch.family,
            detail="" if switch is None else switch.detail,
            changed=0 if moved is None else sum(one.differing for one in moved.tallies),
            moved=0.0 if moved is None else moved.largest,
            differences=tuple(one.difference for one in left.tallies),
            max_steps=left.largest,
        )
        before = adam


def _quantities(climb: Climb) -> list[str]:
    return [name for name in quantities_under(climb.expected.hyper) if name in climb.trace.quantities]


class _Wide:
    """Rows of a block, and those of w, and of an average beside it, as doubles."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.weights = {name: np.array(rows[name], np.float64) for name in ("w", "average") if name in rows}


class _Gap:
    """What lies between two orbits; largest: of w, or of an average beside it, in units of lr."""

    def __init__(self, quantities: Sequence[str], trace: Trace) -> None:
        self.tallies = [Tally(name, trace.layout) for name in quantities]
        self.largest = 0.0

    def add(self, steps: range, left: _Wide, right: _Wide, lr: np.ndarray) -> None:
        for tally in self.tallies:
            tally.add(steps, left.rows[tally.quantity], right.rows[tally.quantity])
        for name in left.weights.keys() & right.weights.keys():
            apart = in_steps(left.weights[name], right.weights[name], lr)
            self.largest = max(self.largest, float(apart.max(initial=0.0)))
