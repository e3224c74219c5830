"""What became of an entry: the same bits, other bits and why, other inputs, or nothing to hold it against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import numpy as np

from parity.adam.twin import Twin
from parity.baseline.entry import Entry, kept_steps, restore
from parity.baseline.predicted import predict
from parity.comparison.divergence import Measured, measure_batch
from parity.core.environment import Difference, differences
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.core.shown import Shown
from parity.core.state import QUANTITIES
from parity.explain.causes import Family
from parity.explain.choices import Switch, switches
from parity.explain.inputs import Inputs
from parity.explain.running import Adam
from parity.numerics.formats import format_named, format_of, in_format, numbers, widest
from parity.numerics.ulp import NO_DISTANCE


class Status(StrEnum):
    """IDENTICAL: every digest is the same. CHANGED: some are not. INPUTS_CHANGED: weights, gradients, steps or
    hyperparameters are not those of the baseline, so nothing is said of the framework. MISSING: the baseline has no
    such entry. UNUSED: the baseline has an entry that nothing asked for. FAILED: there is an entry, and no trace now.
    """

    IDENTICAL = "identical"
    CHANGED = "changed"
    INPUTS_CHANGED = "inputs changed"
    MISSING = "missing"
    UNUSED = "unused"
    FAILED = "failed"


GREEN = frozenset({Status.IDENTICAL, Status.UNUSED})
"""What does not fail a check; UNUSED is reported."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One choice in which the arithmetic or formula changed, with its family."""

    family: str
    detail: str


@dataclass(frozen=True, slots=True)
class Change:
    """How new bits differ from old ones.

    first_step: the first whose digest differs, 0 for the initial state; quantities: those of it. measured: both sides
    on the kept steps, by parameter; empty where the old bits cannot be restored. sentence: what changed, as far as it
    is known. causes: choices that changed, where both sides are known to the last bit. explained: that they are.
    """

    first_step: int
    quantities: tuple[str, ...]
    measured: tuple[Measured, ...]
    sentence: str
    causes: tuple[Cause, ...]
    explained: bool

    @property
    def worst(self) -> tuple[Measured, ...]:
        """Those that differ: the first, then the others, the farthest first."""
        differing = [one for one in self.measured if one.metrics.differing[0]]
        return (*differing[:1], *sorted(differing[1:], key=lambda one: -int(one.metrics.max_ulp[0])))

    @property
    def weights(self) -> tuple[int, float]:
        """The largest distance of a weight in the kept steps, in ULP and in units of lr; 0 where none differs."""
        rows = [one for one in self.worst if one.quantity == "w"]
        return farthest((int(one.metrics.max_ulp[0]), float(one.max_steps[0])) for one in rows)


def farthest(rows: Iterable[tuple[int, float]]) -> tuple[int, float]:
    """The largest of distances in ULP, and of the same in units of lr; a step whose lr is 0 has no such unit."""
    found = [*rows]
    sized = (lr for ulp, lr in found if math.isfinite(lr) or ulp == NO_DISTANCE)
    return max((ulp for ulp, _ in found), default=0), max(sized, default=0.0)


@dataclass(frozen=True, slots=True)
class Drift(Shown):
    """What became of one entry. detail: in a sentence, empty where identical. compared: digests that were compared.

    environment: what differs between the two processes.
    """

    case: str
    dtype: str
    implementation: str
    status: Status
    detail: str = ""
    compared: int = 0
    change: Change | None = None
    environment: tuple[Difference, ...] = ()


def drift(before: Entry, after: Entry, inputs: Inputs | None) -> Drift:
    """Hold a new entry against an old one of the same place.

    inputs: of the case as it stands, None where it is no longer there: then nothing is told of the size of a change.
    """
    surroundings = differences(before.environment, after.environment)
    other = _other_question(before, after)
    if other:
        return Drift(*after.place, Status.INPUTS_CHANGED, other, 0, None, surroundings)
    compared = sum(len(rows) - 1 for rows in after.digests.values())
    if before.digests == after.digests:
        return Drift(*after.place, Status.IDENTICAL, "", compared, None, surroundings)
    change = _change(before, after, inputs)
    return Drift(*after.place, Status.CHANGED, _told(change), compared, change, surroundings)


def _other_question(before: Entry, after: Entry) -> str:
    """In what the question differs, empty where it is the same."""
    if before.steps != after.steps:
        return f"{after.steps} steps, {before.steps} in the baseline"
    if before.hyper != after.hyper:
        names = [one.name for one in fields(Hyper) if getattr(before.hyper, one.name) != getattr(after.hyper, one.name)]
        return ", ".join(f"{name} {getattr(after.hyper, name)}, {getattr(before.hyper, name)} in the baseline"
                         for name in names)  # fmt: skip
    if before.input_digest != after.input_digest:
        return "other weights or gradients than in the baseline (NumPy's generator, the case, or recorded data)"
    return ""


def _change(before: Entry, after: Entry, inputs: Inputs | None) -> Change:
    first, quantities = _first_difference(before.digests, after.digests)
    measured: tuple[Measured, ...] = ()
    restored = ""
    if inputs is not None:
        try:
            measured = _measured(before, after, inputs)
        except ParityError as error:
            restored = str(error)
    sentence, causes, explained = _why(before, after, inputs, restored)
    return Change(first, quantities, measured, sentence, causes, explained)


def _first_difference(
    before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]
) -> tuple[int, tuple[str, ...]]:
    """The first row that differs and in which quantities; one that only one side has differs from row 0."""
    firsts = {}
    for name in (one for one in QUANTITIES if one in before or one in after):
        left, right = before.get(name, ()), after.get(name, ())
        if left != right:
            rows = zip(left[1:], right[1:], strict=False)
            firsts[name] = next((row for row, (one, other) in enumerate(rows) if one != other), 0)
    first = min(firsts.values())
    return first, tuple(name for name, row in firsts.items() if row == first)


def _measured(before: Entry, after: Entry, inputs: Inputs) -> tuple[Measured, ...]:
    format = format_named(after.dtype)
    old, new = restore(before, inputs), restore(after, inputs)
    found: list[Measured] = []
    for name in (one for one in QUANTITIES if one in old and one in new):
        for place, step in enumerate(kept_steps(after.steps)):
            sides = [numbers(np.ascontiguousarray(side[name][place : place + 1]), format) for side in (new, old)]
            wide = widest(map(format_of, sides))
            now, then = (in_format(one, wide) for one in sides)
            found += measure_batch(name, now, then, inputs.layout, range(step, step + 1), after.hyper)
    return tuple(found)


def _why(before: Entry, after: Entry, inputs: Inputs | None, restored: str) -> tuple[str, tuple[Cause, ...], bool]:
    """A sentence, the choices that changed, and whether that is all of it."""
    if restored:
        return f"nothing can be said of its size: {restored}", (), False
    old, new = (one.twin if one.known and isinstance(one.twin, Twin) else None for one in (before, after))
    if old is not None and new is not None:
        format = format_named(after.dtype)
        left, right = (
            Adam(twin.in_force(entry.hyper, entry.steps, format), twin) for twin, entry in ((old, before), (new, after))
        )
        changed = _switched(left, right, after, inputs)
        if changed:
            told = "; ".join(f"{one.family}: {one.detail}" for one in changed)
            return f"both are known to the last bit, and differ in {told}", changed, True
        return (
            "both are known to the last bit as the same Adam: the framework's square root or its inputs differ",
            (),
            False,
        )
    known = "the old one" if old is not None else "the new one" if new is not None else "neither"
    told = f"{known} is reproduced to the last bit by a from-scratch Adam, so not every bit is explained"
    return f"{_widened(before, after)}{told}", (), False


def _widened(before: Entry, after: Entry) -> str:
    """Which quantities are kept in a format of another width than before, as the beginning of a sentence."""
    both = [name for name in QUANTITIES if name in before.gaps and name in after.gaps]
    bits = {name: (before.gaps[name].itemsize * 8, after.gaps[name].itemsize * 8) for name in both}
    changed: dict[tuple[int, int], list[str]] = {}
    for name, sizes in bits.items():
        if sizes[0] != sizes[1]:
            changed.setdefault(sizes, []).append(name)
    told = (f"{' and '.join(names)} went from {old} to {new} bits" for (old, new), names in changed.items())
    return "".join(f"{one}; " for one in told)


def _switched(left: Adam, right: Adam, after: Entry, inputs: Inputs | None) -> tuple[Cause, ...]:
    """Choices that differ; with inputs, only those that change a bit of the kept steps, if any of them does."""
    found: list[Switch] = list(switches(left, right, format_named(after.dtype), after.steps))
    if inputs is not None and len(found) > 1:
        found = list(_moving(left, found, inputs, after.steps)) or found
    return tuple(Cause(str(one.family), one.detail) for one in found)


def _moving(start: Adam, found: list[Switch], inputs: Inputs, steps: int) -> Iterator[Switch]:
    """Switches after which a free run has other bits; that of a square root, which `predict` leaves out, always."""
    rows = predict(start.twin, start.hyper, inputs, kept_steps(steps))
    for one in found:
        switched = predict(one.adam.twin, one.adam.hyper, inputs, kept_steps(steps))
        if one.family is Family.SQRT or any((switched[name] != rows[name]).any() for name in rows):
            yield one
        rows = switched


def _told(change: Change) -> str:
    where = f"from step {change.first_step} in {', '.join(change.quantities)}"
    ulp, lr = change.weights
    size = f", w by up to {ulp:,} ULP = {lr:.3g} lr in the kept steps" if ulp else ""
    return f"{where}{size}; {change.sentence}"


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
