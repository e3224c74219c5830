"""Two recorded optimizers on the same gradients: in what they differ, and what share of the difference is theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from parity.adam.arithmetic import SquareRoot
from parity.adam.convention import Convention, Epsilon
from parity.adam.machine import machine_of, twin_on
from parity.adam.oracle import Oracle, orbits
from parity.adam.twin import Twin
from parity.case.case import Case
from parity.case.pairing import Pair, Pairing
from parity.case.recording import Recording
from parity.case.replay import cases_of_recording
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.running import Adam, free_run
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import format_named

PART = 1 << 20
"""Elements of tensors that are looked at together, a tensor at least."""

FIELDS = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled", "amsgrad")

BRIDGES = {
    ("torch", "keras"): "parity.bridge.KerasAdam",
    ("keras", "torch"): "parity.bridge.TorchAdam",
    ("keras", "optax"): "parity.bridge.TorchAdam",
    ("optax", "keras"): "parity.bridge.outside_epsilon",
}
"""What gives an optimizer of the first framework the formula of the second: where epsilon stands, which steps count."""

EPSILON, STEP_COUNT, MAXIMUM = "epsilon", "step count", "maximum"
"""Choices of formula, beside those of a number."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice in which the optimizers differ.

    steps, steps_expected: what it alone makes of the weights at the end, in lr, on the gradients of either side.
    """

    name: str
    actual: str
    expected: str
    steps: float
    steps_expected: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the difference of the weights, largest and in units of lr, how it is shared, and the noise floor.

    optimizer + gradients = 1, but for rounding: with d = w_A - w_B and BA, B's optimizer on A's gradients, they are
    <d, w_A - w_BA> / <d, d> and <d, w_BA - w_B> / <d, d>; both 0 where nothing differs. floor: how far BA is from the
    same formula with the same hyperparameters in (nearly) exact arithmetic on the same gradients, largest, in lr: what
    rounding alone makes of an optimizer. A model that goes on from other weights adds to it; that is not in here.
    """

    number: int
    largest: float
    lr: float
    optimizer: float
    gradients: float
    floor: float


@dataclass(frozen=True, slots=True)
class Optimizers:
    """The optimizers on the same gradients. known: how near each is reproduced from what it was given, in lr.

    choices: in what they differ, the weightiest first; left: what remains of the weights' difference at the end once
    all choices are made alike, in lr. advice: what to set for that on the side of `actual`; empty where nothing is.
    """

    known: tuple[float, float]
    choices: tuple[Choice, ...]
    left: float
    advice: str


@dataclass(frozen=True, slots=True)
class Side:
    """A recording as an Adam: its cases by group, hyperparameters, and the twin of what it is said to be."""

    recording: Recording
    cases: tuple[Case, ...]
    twin: Twin
    implementation: str

    def case(self, name: str) -> int:
        """The group that a parameter is in, as a place among the cases."""
        return next(place for place, case in enumerate(self.cases) if name in {one.name for one in case.parameters})

    def hyper(self, case: Case, steps: int) -> Hyper:
        """In force in a group."""
        asked = case.hyper_for(shipped_implementations()[self.implementation].defaults)
        lr = asked.lr[:steps] if isinstance(asked.lr, tuple) else (asked.lr,) * steps
        return self.twin.in_force(replace(asked, lr=lr), steps, format_named(case.dtypes[0]))


def side_of(recording: Recording) -> Side:
    """ParityError where its optimizer is none whose arithmetic is known, or it cannot be replayed."""
    known = recording.told["implementation"]
    if known is None:
        raise ParityError(f"{recording.told['optimizer']} is no Adam whose arithmetic is known")
    if recording.every > 1:
        raise ParityError(
            f"{recording.folder.name} holds one step in {recording.every}, which no optimizer goes through"
        )
    twin = twin_on(known, recording.dtype, machine_of(recording.told.get("environment", {})))
    assert twin is not None
    return Side(recording, cases_of_recording(recording.folder), twin, known)


def weigh_optimizers(
    sides: tuple[Side, Side], pairing: Pairing, libraries: Libraries
) -> tuple[Optimizers, tuple[Step, ...]]:
    """Both optimizers on the gradients of the first, and each on its own, by groups; in units of B's largest lr."""
    steps = min(side.recording.steps for side in sides)
    tally = _Tally(steps)
    groups: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairing.pairs:
        groups.setdefault((sides[0].case(pair.actual), sides[1].case(pair.expected)), []).append(pair)
    for cases, pairs in _parts(sides, groups):
        hypers = [side.hyper(case, steps) for side, case in zip(sides, cases, strict=True)]
        adams = [Adam(hyper, side.twin, _library(side, libraries)) for hyper, side in zip(hypers, sides, strict=True)]
        unit = _unit(hypers[1])
        own = _Run(sides[1].recording, cases[1], steps)
        columns = own.columns([pair.expected for pair in pairs])
        choices = list(_choices(*adams))
        for rows, (w_b, w_ab, *changed) in own.blocks([adams[1], adams[0], *(one.changed for one in choices)]):
            tally.reproduced(1, (w_b - own.recorded(rows))[:, columns], unit)
            if rows.stop == steps:
                tally.chose(1, choices, [_largest((one - w_ab)[-1, columns]) / unit for one in changed])
        _weigh_part(tally, sides, cases[0], pairs, adams, unit)
    return tally.optimizers(sides), tally.curve()


def _parts(
    sides: tuple[Side, Side], groups: Mapping[tuple[int, int], Sequence[Pair]]
) -> Iterator[tuple[tuple[Case, Case], list[Pair]]]:
    """Pairs of one group of either side, so many tensors at a time that memory holds them, with the cases of these."""
    for places, pairs in groups.items():
        cases = sides[0].cases[places[0]], sides[1].cases[places[1]]
        first = 0
        while first < len(pairs):
            many, size = 1, pairs[first].place.size
            while first + many < len(pairs) and size + pairs[first + many].place.size <= PART:
                size += pairs[first + many].place.size
                many += 1
            part = list(pairs[first : first + many])
            one, other = (
                _only(cases[0], [pair.actual for pair in part]),
                _only(cases[1], [pair.expected for pair in part]),
            )
            yield (one, other), part
            first += many


def _only(case: Case, names: Sequence[str]) -> Case:
    """The case of some of its tensors; beside a lone one the smallest other, as some Adams treat an only one apart."""
    kept = [one for one in case.parameters if one.name in names]
    others = [one for one in case.parameters if one.name not in names]
    if len(kept) == 1 and others:
        kept.append(min(others, key=lambda one: math.prod(one.shape)))
    return case.model_copy(update={"parameters": tuple(kept)})


def _weigh_part(
    tally: _Tally, sides: tuple[Side, Side], case: Case, pairs: Sequence[Pair], adams: Sequence[Adam], unit: float
) -> None:
    """A, BA and what lies between them, over tensors of one group of A that are in one group of B."""
    one, other = adams
    choices = list(_choices(one, other))
    run = _Run(sides[0].recording, case, tally.steps)
    columns = run.columns([pair.actual for pair in pairs])
    asked = [one, other, _rounded_as(one, other), *(choice.changed for choice in choices)]
    exact = run.exact(Oracle(other.hyper, other.twin.convention))
    for (rows, made), truth in zip(run.blocks(asked), exact, strict=True):
        w_a, w_ba = run.recorded(rows)[:, columns], made[1][:, columns]
        tally.reproduced(0, made[0][:, columns] - w_a, unit)
        w_b = np.concatenate(
            [_weights(sides[1].recording, pair.expected, rows)[:, pair.place] for pair in pairs], axis=1
        )
        tally.add(rows, w_a - w_b, w_a - w_ba, w_ba - w_b, unit)
        tally.rounded(rows, (w_ba - truth.high[:, columns]) - truth.low[:, columns], unit)
        if rows.stop == tally.steps:
            tally.left = max(tally.left, _largest((made[2] - made[1])[-1, columns]) / unit)
            tally.chose(0, choices, [_largest((one - made[0])[-1, columns]) / unit for one in made[3:]])


@dataclass
class _Tally:
    """What the steps come to, over all groups of tensors."""

    steps: int
    left: float = 0.0
    known: list[float] = field(default_factory=lambda: [0.0, 0.0])
    chosen: dict[str, tuple[_Differing, list[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sums = np.zeros((3, self.steps))
        self._largest, self._lr, self._floor = np.zeros((3, self.steps))

    def reproduced(self, place: int, gaps: np.ndarray, unit: float) -> None:
        self.known[place] = max(self.known[place], float(_largest_of_rows(gaps).max(initial=0.0) / unit))

    def add(self, rows: slice, d: np.ndarray, optimizer: np.ndarray, gradients: np.ndarray, unit: float) -> None:
        with np.errstate(all="ignore"):
            self._sums[:, rows] += [np.nansum(d * part, axis=1) for part in (d, optimizer, gradients)]
        largest = _largest_of_rows(d)
        self._largest[rows] = np.maximum(self._largest[rows], largest)
        self._lr[rows] = np.maximum(self._lr[rows], largest / unit)

    def rounded(self, rows: slice, gaps: np.ndarray, unit: float) -> None:
        self._floor[rows] = np.maximum(self._floor[rows], _largest_of_rows(gaps) / unit)

    def chose(self, place: int, choices: Sequence[_Differing], steps: Sequence[float]) -> None:
        for choice, size in zip(choices, steps, strict=True):
            _, sizes = self.chosen.setdefault(choice.name, (choice, [0.0, 0.0]))
            sizes[place] = max(sizes[place], size)

    def optimizers(self, sides: tuple[Side, Side]) -> Optimizers:
        # Two counts of steps are one until a gradient is missing.
        found = [one for one in self.chosen.values() if one[0].name != STEP_COUNT or any(one[1])]
        choices = tuple(
            Choice(one.name, one.actual, one.expected, *sizes)
            for one, sizes in sorted(found, key=lambda told: -max(told[1]))
        )
        frameworks = [str(side.recording.told["framework"]) for side in sides]
        return Optimizers((self.known[0], self.known[1]), choices, self.left, _advice(choices, *frameworks))

    def curve(self) -> tuple[Step, ...]:
        square = np.where(self._sums[0] > 0, self._sums[0], 1.0)
        shares = self._sums[1:] / square
        columns = (self._largest, self._lr, *shares, self._floor)
        return tuple(
            Step(number, *figures)
            for number, figures in enumerate(zip(*(one.tolist() for one in columns), strict=True), start=1)
        )


class _Run:
    """The tensors of one group of a recording, on which any Adam can be let loose, block of steps by block."""

    def __init__(self, recording: Recording, case: Case, steps: int) -> None:
        self._recording = recording
        self._format = format_named(recording.dtype)
        lr = case.hyper.lr[:steps] if isinstance(case.hyper.lr, tuple) else case.hyper.lr
        hyper = case.hyper.model_copy(update={"lr": lr})
        self._inputs = Inputs(case.model_copy(update={"steps": steps, "hyper": hyper}), self._format)

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Where the elements of some tensors stand in a row, one tensor after another."""
        places = {parameter.name: place for parameter, place in self._inputs.layout.slices()}
        return np.concatenate([np.arange(places[name].start, places[name].stop) for name in names])

    def blocks(self, adams: Sequence[Adam]) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """The weights of several Adams on these gradients, float64 (steps, size) each, with the rows that they are."""
        start, layout = self._inputs.start(), self._inputs.layout
        # Of those that are one, one is run.
        firsts = [adams.index(adam) for adam in adams]
        runs = {place: free_run(adams[place], start, layout, self._inputs.blocks()) for place in dict.fromkeys(firsts)}
        for found in zip(*runs.values(), strict=True):
            steps = found[0][0].steps
            made = {place: row["w"].astype(np.float64) for place, (_, row) in zip(runs, found, strict=True)}
            yield slice(steps.start - 1, steps.stop - 1), [made[place] for place in firsts]

    def exact(self, oracle: Oracle) -> Iterator[Any]:
        """The weights of an oracle, in double-double, over the same blocks."""
        runs = orbits([oracle], self._inputs.start(), self._inputs.layout, self._inputs.blocks(), self._format)
        return (found[oracle].w for found in runs)

    def recorded(self, rows: slice) -> np.ndarray:
        """The recorded weights after some steps, float64 (steps, size)."""
        names = [parameter.name for parameter in self._inputs.layout.parameters]
        return np.concatenate([_weights(self._recording, name, rows) for name in names], axis=1)


def _weights(recording: Recording, name: str, rows: slice) -> np.ndarray:
    """After steps, float64 (steps, kept)."""
    found = [recording.values("w", name, row + 1) for row in range(rows.start, rows.stop)]
    return np.stack(found).astype(np.float64)


def _unit(hyper: Hyper) -> float:
    """The largest step size: at the end of a schedule that ends with nothing, its own would be no unit."""
    lr = hyper.lr if isinstance(hyper.lr, tuple) else (hyper.lr,)
    return max(lr) or 1.0


def _largest_of_rows(gaps: np.ndarray) -> np.ndarray:
    """Largest finite magnitude of every row."""
    sizes = np.abs(gaps)
    largest: np.ndarray = np.where(np.isfinite(sizes), sizes, 0.0).max(axis=1, initial=0.0)
    return largest


def _largest(gaps: np.ndarray) -> float:
    return float(_largest_of_rows(gaps[None])[0])


def _library(side: Side, libraries: Libraries) -> Any:
    arithmetic = side.twin.arithmetic
    return None if arithmetic.square_root is SquareRoot.IEEE else libraries.for_twin(side.implementation, arithmetic)


def _rounded_as(one: Adam, other: Adam) -> Adam:
    """The formula and numbers of `other` in the arithmetic of `one`; in a plain one where that has another formula."""
    ours, theirs = one.twin.convention, other.twin.convention
    if ours.epsilon == theirs.epsilon and (not other.hyper.amsgrad or ours.maximum == theirs.maximum):
        return Adam(other.hyper, Twin(theirs, one.twin.arithmetic), one.library)
    return _plain(other.hyper, theirs)


def _plain(hyper: Hyper, convention: Convention) -> Adam:
    return Adam(hyper, Twin(convention, Oracle(hyper, convention).forms))


class _Differing(NamedTuple):
    """A choice of either side; changed: the Adam of `actual` as it is when that choice alone is the other's."""

    name: str
    actual: str
    expected: str
    changed: Adam


def _choices(one: Adam, other: Adam) -> Iterator[_Differing]:
    """Every choice of formula or number that differs."""
    for name in FIELDS:
        mine, theirs = getattr(one.hyper, name), getattr(other.hyper, name)
        if not _same_number(mine, theirs):
            changed = Adam(replace(one.hyper, **{name: theirs}), one.twin, one.library)
            yield _Differing(name, _number(mine), _number(theirs), changed)
    ours, others = one.twin.convention, other.twin.convention
    if ours.epsilon != others.epsilon:
        changed = _plain(one.hyper, replace(ours, epsilon=others.epsilon))
        yield _Differing(EPSILON, _placed(ours.epsilon), _placed(others.epsilon), changed)
    if ours.step_count != others.step_count:
        twin = Twin(replace(ours, step_count=others.step_count), one.twin.arithmetic)
        changed = Adam(one.hyper, twin, one.library)
        yield _Differing(STEP_COUNT, _words(ours.step_count), _words(others.step_count), changed)
    if ours.maximum != others.maximum and one.hyper.amsgrad and other.hyper.amsgrad:
        changed = _plain(one.hyper, replace(ours, maximum=others.maximum))
        yield _Differing(MAXIMUM, _words(ours.maximum), _words(others.maximum), changed)


def _same_number(one: Any, other: Any) -> bool:
    """Whether two hyperparameters are one, of which a framework may keep no more than float32 holds."""
    if isinstance(one, bool):
        return bool(one == other)
    return bool(np.array_equal(np.float32(one), np.float32(other)))


def _placed(epsilon: Epsilon) -> str:
    return {Epsilon.OUTSIDE: "sqrt(v_hat) + eps", Epsilon.HAT: "sqrt(v) + eps, corrected outside",
            Epsilon.INSIDE: "sqrt(v_hat + eps)"}[epsilon]  # fmt: skip


def _words(choice: str) -> str:
    return choice.replace("_", " ")


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.9g}" if len(set(value)) == 1 else f"{value[0]:.9g} to {value[-1]:.9g}"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _advice(choices: Sequence[Choice], actual: str, expected: str) -> str:
    """What to set on the side of `actual` so that it does what `expected` does; empty where nothing is to be set."""
    names = [one.name for one in choices]
    parts = [f"{one.name}={one.expected}" for one in choices if one.name in FIELDS]
    told = [f"set {', '.join(parts)}"] if parts else []
    bridge = BRIDGES.get((actual, expected))
    if bridge and {EPSILON, STEP_COUNT} & {*names}:
        told.append(f"take {bridge}")
    elif EPSILON in names:
        told.append("see parity convert-eps")
    return " and ".join(told)
