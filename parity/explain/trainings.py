"""Two trainings that part: from the start, by their gradients, by their optimizers, and what share each of them has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from parity.adam.arithmetic import SquareRoot, plain
from parity.adam.convention import Epsilon
from parity.adam.twins import TWINS, Twin
from parity.case.case import Case
from parity.case.pairing import Pairing, pair_parameters
from parity.case.recording import Recording, check_recording
from parity.case.replay import cases_of_recording
from parity.core.errors import NothingCompared, ParityError
from parity.core.hyper import Hyper
from parity.explain.inputs import Inputs
from parity.explain.libraries import Libraries
from parity.explain.running import Adam, free_run
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import format_named
from parity.numerics.ulp import ulp_distance

ROUNDING = 1e-3
"""Relative size, in the norm of a tensor, up to which two gradients on equal weights are called rounding."""

FIELDS = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled", "amsgrad")


BRIDGES = {("torch", "keras"): "parity.bridge.KerasAdam", ("keras", "torch"): "parity.bridge.TorchAdam"}
"""Optimizers of the first framework that stand epsilon where the second does."""


class Likeness(StrEnum):
    """How the gradients of a tensor stand to each other on equal weights."""

    EQUAL = "equal"
    ROUNDING = "rounding"
    FACTOR = "factor"
    PERMUTED = "permuted"
    UNLIKE = "unlike"
    ABSENT = "absent"


NEAR = 0.01
"""In units of lr: farther apart at any step, two trainings are not called alike."""

BENIGN = (Likeness.EQUAL, Likeness.ROUNDING, Likeness.ABSENT)
"""What needs no word."""


@dataclass(frozen=True, slots=True)
class Start:
    """A tensor whose beginning differs. ulp, largest: between the initial weights; untransposed: equal as they lie."""

    actual: str
    expected: str
    ulp: int
    largest: float
    untransposed: bool


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradients of a tensor at the first step. factor: actual over expected; apart: relative, in the norm."""

    actual: str
    expected: str
    likeness: Likeness
    factor: float
    apart: float
    ulp: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice in which the optimizers differ. steps: what it alone makes of the weights at the end, in lr."""

    name: str
    actual: str
    expected: str
    steps: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the difference of the weights, largest and in units of lr, and how it is shared.

    optimizer + gradients = 1, but for rounding: with d = w_A - w_B and BA, B's optimizer on A's gradients, they are
    <d, w_A - w_BA> / <d, d> and <d, w_BA - w_B> / <d, d>; both 0 where nothing differs.
    """

    number: int
    largest: float
    lr: float
    optimizer: float
    gradients: float


@dataclass(frozen=True, slots=True)
class Optimizers:
    """The optimizers on the same gradients. known: how near each is reproduced from what it was given, in lr.

    choices: in what they differ, the weightiest first; left: what remains of the weights' difference at the end once
    all choices are made alike, in lr.
    """

    known: tuple[float, float]
    choices: tuple[Choice, ...]
    left: float


@dataclass(frozen=True, slots=True)
class Trainings:
    """What two recordings come to. steps: compared; alike: whether nothing but rounding parts them."""

    actual: str
    expected: str
    pairing: Pairing
    starts: tuple[Start, ...]
    counted: tuple[int, int]
    step: int
    gradients: tuple[Gradient, ...]
    optimizers: Optimizers | None
    why_not: str
    curve: tuple[Step, ...]
    alike: bool
    advice: str
    sentence: str


def compare_trainings(actual: Recording, expected: Recording, asked: Mapping[str, str] | None = None) -> Trainings:
    """Hold two recordings against each other, in the order in which one would look for the cause.

    asked: pairs of names that decide, as `pair_parameters` has it. ParityError where a recording is damaged,
    NothingCompared where they have no parameter or no step in common.
    """
    for one in (actual, expected):
        check_recording(one)
    pairing = pair_parameters(actual, expected, asked)
    if not pairing.pairs:
        raise NothingCompared(f"{actual.folder.name} and {expected.folder.name} have no parameter in common")
    starts = tuple(_starts(actual, expected, pairing))
    counted = (max(actual.told["t"]), max(expected.told["t"]))
    steps = min(actual.steps, expected.steps)
    step, gradients = _first_unlike(actual, expected, pairing, steps)
    optimizers: Optimizers | None = None
    curve: tuple[Step, ...] = ()
    why_not = ""
    try:
        sides = _Side.of(actual), _Side.of(expected)
    except ParityError as error:
        why_not = str(error)
    else:
        with Libraries() as libraries:
            optimizers, curve = _optimizers(sides, pairing, libraries)
    rounding = all(one.likeness in BENIGN for one in gradients)
    same_optimizer = optimizers is not None and not optimizers.choices
    # What only one has, or what was not compared, is never alike.
    whole = not any(pairing.alone) and actual.steps == expected.steps and counted[0] == counted[1]
    near = bool(curve) and max(one.lr for one in curve) <= NEAR
    alike = not starts and rounding and same_optimizer and whole and near
    found = Trainings(
        str(actual.folder),
        str(expected.folder),
        pairing,
        starts,
        counted,
        step,
        gradients,
        optimizers,
        why_not,
        curve,
        alike,
        "" if optimizers is None else _advice(optimizers, actual, expected),
        "",
    )
    return replace(found, sentence=_sentence(found))


def _starts(actual: Recording, expected: Recording, pairing: Pairing) -> Iterator[Start]:
    for pair in pairing.pairs:
        one, lying = actual.weights(pair.actual), expected.weights(pair.expected)
        two = lying[pair.place].astype(one.dtype)
        if one.tobytes() == two.tobytes():
            continue
        gap = np.abs(one.astype(np.float64) - two.astype(np.float64))
        as_they_lie = one.tobytes() == lying.astype(one.dtype).tobytes()
        yield Start(pair.actual, pair.expected, int(ulp_distance(one, two).max()), float(gap.max()), as_they_lie)


def _first_unlike(
    actual: Recording, expected: Recording, pairing: Pairing, steps: int
) -> tuple[int, tuple[Gradient, ...]]:
    """The first step whose gradients part while the weights before it are equal to the bit; else the first of all."""
    first = tuple(_gradients(actual, expected, pairing, 1))
    now = first
    for step in range(1, steps + 1):
        now = first if step == 1 else tuple(_gradients(actual, expected, pairing, step))
        if any(one.likeness not in BENIGN for one in now):
            return step, now
        rows = (
            (actual.values("w", pair.actual, step), expected.values("w", pair.expected, step)[pair.place])
            for pair in pairing.pairs
        )
        if not all(one.tobytes() == two.tobytes() for one, two in rows):
            break
    return 1, first


def _gradients(actual: Recording, expected: Recording, pairing: Pairing, step: int) -> Iterator[Gradient]:
    """How those of a step stand to each other."""
    for pair in pairing.pairs:
        absent = [pair.actual in actual.step(step).none, pair.expected in expected.step(step).none]
        if any(absent):
            likeness = Likeness.ABSENT if all(absent) else Likeness.UNLIKE
            yield Gradient(pair.actual, pair.expected, likeness, float("nan"), float("nan"), 0)
            continue
        one = actual.gradients(pair.actual, step)
        two = expected.gradients(pair.expected, step)[pair.place]
        yield _likeness(pair.actual, pair.expected, one, two.astype(one.dtype))


def _likeness(name: str, other: str, one: np.ndarray, two: np.ndarray) -> Gradient:
    a, b = one.astype(np.float64), two.astype(np.float64)
    if one.tobytes() == two.tobytes():
        return Gradient(name, other, Likeness.EQUAL, 1.0, 0.0, 0)
    ulp = int(ulp_distance(one, two).max()) if np.isfinite(a).all() and np.isfinite(b).all() else -1
    square = float(np.dot(b, b))
    if not np.isfinite(square) or square == 0 or not np.isfinite(a).all():
        return Gradient(name, other, Likeness.UNLIKE, float("nan"), float("inf"), ulp)
    # The factor that leaves least, in the least squares' sense.
    factor = float(np.dot(a, b)) / square
    apart = float(np.linalg.norm(a - factor * b) / (np.linalg.norm(a) or 1.0))
    if apart <= ROUNDING and factor:
        likeness = Likeness.ROUNDING if abs(factor - 1) <= ROUNDING else Likeness.FACTOR
        return Gradient(name, other, likeness, factor, apart, ulp)
    ordered = float(np.linalg.norm(np.sort(a) - np.sort(b)) / (np.linalg.norm(a) or 1.0))
    likeness = Likeness.PERMUTED if ordered <= ROUNDING and a.size > 1 else Likeness.UNLIKE
    return Gradient(name, other, likeness, factor, apart, ulp)


@dataclass(frozen=True, slots=True)
class _Side:
    """A recording as an Adam: its cases by group, hyperparameters, and the twin of what it is said to be."""

    recording: Recording
    cases: tuple[Case, ...]
    twin: Twin
    implementation: str

    @classmethod
    def of(cls, recording: Recording) -> _Side:
        known = recording.told["implementation"]
        if known is None:
            raise ParityError(f"{recording.told['optimizer']} is no Adam whose arithmetic is known")
        return cls(recording, cases_of_recording(recording.folder), TWINS[known][recording.dtype], known)

    def case(self, name: str) -> Case:
        """The case of the group that a parameter is in."""
        return next(case for case in self.cases if name in {one.name for one in case.parameters})

    def hyper(self, name: str, steps: int) -> Hyper:
        """In force for a parameter."""
        asked = self.case(name).hyper_for(shipped_implementations()[self.implementation].defaults)
        lr = asked.lr[:steps] if isinstance(asked.lr, tuple) else (asked.lr,) * steps
        return self.twin.in_force(replace(asked, lr=lr))


def _optimizers(
    sides: tuple[_Side, _Side], pairing: Pairing, libraries: Libraries
) -> tuple[Optimizers, tuple[Step, ...]]:
    """Both optimizers on the gradients of the first, and B's on its own, tensor by tensor: Adam is element-wise."""
    a, b = sides
    steps = min(a.recording.steps, b.recording.steps)
    sums = np.zeros((3, steps))
    largest, known = np.zeros(steps), [0.0, 0.0]
    weights: dict[str, float] = {}
    told: dict[str, tuple[str, str]] = {}
    left = 0.0
    lrs = np.array(a.hyper(pairing.pairs[0].actual, steps).lr)
    lr = float(lrs[-1]) or 1.0
    for pair in pairing.pairs:
        hypers = a.hyper(pair.actual, steps), b.hyper(pair.expected, steps)
        adams = tuple(
            Adam(hyper, side.twin, _library(side, libraries)) for hyper, side in zip(hypers, sides, strict=True)
        )
        inputs = [_Run(side, name, steps) for side, name in zip(sides, (pair.actual, pair.expected), strict=True)]
        own = [run.states() for run in inputs]
        for place, (run, adam) in enumerate(zip(inputs, adams, strict=True)):
            known[place] = max(known[place], _apart(run.of(adam), own[place]) / lr)
        w_a, w_b = own[0], own[1][:, pair.place]
        w_ba = inputs[0].of(adams[1])
        d, by_optimizer, by_gradients = w_a - w_b, w_a - w_ba, w_ba - w_b
        with np.errstate(all="ignore"):
            sums += [np.nansum(d * part, axis=1) for part in (d, by_optimizer, by_gradients)]
            largest = np.maximum(largest, np.nanmax(np.abs(d), axis=1, initial=0))
        for name, one, other, changed in _choices(adams[0], adams[1]):
            alone = _apart(inputs[0].of(changed), inputs[0].of(adams[0])) / lr
            weights[name] = max(weights.get(name, 0.0), alone)
            told[name] = one, other
        left = max(left, _apart(inputs[0].of(_rounded_as(adams[0], adams[1])), w_ba) / lr)
    choices = tuple(
        Choice(name, *told[name], weights[name]) for name in sorted(weights, key=lambda name: -weights[name])
    )
    square = np.where(sums[0] > 0, sums[0], 1.0)
    curve = tuple(
        Step(number + 1, float(largest[number]), float(largest[number] / (lrs[number] or 1.0)),
             float(sums[1, number] / square[number]), float(sums[2, number] / square[number]))
        for number in range(steps)
    )  # fmt: skip
    return Optimizers((known[0], known[1]), choices, left), curve


class _Run:
    """One tensor of a recording, on which any Adam can be let loose."""

    def __init__(self, side: _Side, name: str, steps: int) -> None:
        self._recording, self._name, self._steps = side.recording, name, steps
        self._format = format_named(side.recording.dtype)
        whole = side.case(name)
        parameter = tuple(one for one in whole.parameters if one.name == name)
        lr = whole.hyper.lr[:steps] if isinstance(whole.hyper.lr, tuple) else whole.hyper.lr
        hyper = whole.hyper.model_copy(update={"lr": lr})
        self._inputs = Inputs(
            whole.model_copy(update={"parameters": parameter, "steps": steps, "hyper": hyper}), self._format
        )

    def states(self) -> np.ndarray:
        """The recorded weights after every step, float64 (steps, kept)."""
        rows = [self._recording.values("w", self._name, step) for step in range(1, self._steps + 1)]
        return np.stack(rows).astype(np.float64)

    def of(self, adam: Adam) -> np.ndarray:
        """The weights of an Adam on these gradients, float64 (steps, kept)."""
        runs = free_run(adam, self._inputs.start(), self._inputs.layout, self._inputs.blocks())
        return np.concatenate([rows["w"].astype(np.float64) for _, rows in runs])


def _library(side: _Side, libraries: Libraries) -> Any:
    arithmetic = side.twin.arithmetic
    return None if arithmetic.square_root is SquareRoot.IEEE else libraries.for_twin(side.implementation, arithmetic)


def _rounded_as(one: Adam, other: Adam) -> Adam:
    """The formula and numbers of `other` in the arithmetic of `one`; in a plain one where that has another formula."""
    convention = other.twin.convention
    same = one.twin.convention.epsilon == convention.epsilon
    arithmetic = one.twin.arithmetic if same else plain(convention.epsilon)
    return Adam(other.hyper, Twin(convention, arithmetic), one.library if same else None)


def _choices(one: Adam, other: Adam) -> Iterator[tuple[str, str, str, Adam]]:
    """Every choice of formula or number that differs, with the first Adam as it is when it alone is changed."""
    for field in FIELDS:
        mine, theirs = getattr(one.hyper, field), getattr(other.hyper, field)
        if not _same_number(mine, theirs):
            yield (
                field,
                _number(mine),
                _number(theirs),
                Adam(replace(one.hyper, **{field: theirs}), one.twin, one.library),
            )
    ours, others = one.twin.convention, other.twin.convention
    if ours.epsilon != others.epsilon:
        changed = Adam(one.hyper, Twin(replace(ours, epsilon=others.epsilon), plain(others.epsilon)))
        yield "epsilon", _placed(ours.epsilon), _placed(others.epsilon), changed


def _same_number(one: Any, other: Any) -> bool:
    """Whether two hyperparameters are one, of which a framework may keep no more than float32 holds."""
    if isinstance(one, bool):
        return bool(one == other)
    return bool(np.array_equal(np.float32(one), np.float32(other)))


def _placed(epsilon: Epsilon) -> str:
    return {Epsilon.OUTSIDE: "sqrt(v_hat) + eps", Epsilon.HAT: "sqrt(v) + eps, corrected outside",
            Epsilon.INSIDE: "sqrt(v_hat + eps)"}[epsilon]  # fmt: skip


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.9g}" if len(set(value)) == 1 else f"{value[0]:.9g} to {value[-1]:.9g}"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Largest finite difference of the last step."""
    gaps = np.abs(one[-1] - other[-1])
    return float(gaps[np.isfinite(gaps)].max(initial=0.0))


def _sentence(found: Trainings) -> str:
    """Who is to blame, in one sentence."""
    if found.alike:
        return "alike: the same start, the same gradients and the same optimizer; what parts them is rounding"
    if found.starts:
        return f"not the optimizer: {_start_told(found)}"
    if found.counted[0] != found.counted[1]:
        before = " and ".join(f"{count:,}" for count in found.counted)
        return f"they do not start at the same step: {before} steps were counted before"
    unlike = [one for one in found.gradients if one.likeness not in BENIGN]
    if unlike:
        told = f"the gradients {_told_of(unlike, len(found.gradients), found.step)}"
        if found.curve:
            last = found.curve[-1]
            share = f"{100 * last.gradients:.1f} % of the difference after {last.number:,} steps"
            told = f"{share} comes from gradients that {_told_of(unlike, len(found.gradients), found.step)}"
        return f"not the optimizer: {told}"
    if found.optimizers is None:
        return f"the gradients of the first step are alike; of the optimizers nothing can be told: {found.why_not}"
    if found.optimizers.choices:
        differing = "; ".join(
            f"{one.name} is {one.actual} and {one.expected} ({one.steps:.2g} lr)" for one in found.optimizers.choices
        )
        return f"the optimizer: {differing}; {found.advice}: {found.optimizers.left:.2g} lr are left"
    if any(found.pairing.alone):
        only = [name for side in found.pairing.alone for name in side]
        told = f"{len(only)} parameters stand in one of them only, and were not compared: {only[0]}"
        return f"alike in what both have; {told}"
    if found.curve and max(one.lr for one in found.curve) <= NEAR:
        return f"alike in the {found.curve[-1].number:,} steps that both have; the rest was not compared"
    return (
        "the optimizers do the same, and the gradients are alike for as long as the weights are equal: "
        "the trainings part by rounding, or by gradients that differ later"
    )


def _advice(optimizers: Optimizers, actual: Recording, expected: Recording) -> str:
    """What to set on the side of `actual` so that it does what `expected` does; empty where nothing is to be set."""
    parts = [f"{one.name}={one.expected}" for one in optimizers.choices if one.name != "epsilon"]
    told = [f"set {', '.join(parts)}"] if parts else []
    if any(one.name == "epsilon" for one in optimizers.choices):
        frameworks = actual.told["framework"], expected.told["framework"]
        told.append(f"take {BRIDGES[frameworks]}" if frameworks in BRIDGES else "see parity convert-eps")
    return " and ".join(told)


def _start_told(found: Trainings) -> str:
    lying = [one.actual for one in found.starts if one.untransposed]
    if lying:
        return f"{', '.join(lying)} was copied without being transposed, so the trainings start apart"
    first, of = found.starts[0], len(found.pairing.pairs)
    return f"they start apart, in {len(found.starts)} of {of} tensors ({first.actual} by up to {first.largest:.3g})"


def _told_of(unlike: Sequence[Gradient], of: int, step: int) -> str:
    factors = {round(one.factor, 3) for one in unlike if one.likeness is Likeness.FACTOR}
    if len(factors) == 1 and len(unlike) == of:
        return f"differ from step {step} on by a factor of {_factor(unlike[0].factor)}"
    if factors and all(one.likeness is Likeness.FACTOR for one in unlike):
        return f"differ from step {step} on by factors: " + ", ".join(
            f"{_factor(one.factor)} in {one.actual}" for one in unlike
        )
    names = ", ".join(f"{one.actual} ({one.likeness})" for one in unlike[:3])
    return f"are unlike from step {step} on in {len(unlike)} of {of} tensors: {names}: the model or the data"


def _factor(factor: float) -> str:
    """A factor as people write it: a whole number, or one over it."""
    if factor and abs(factor) < 1 and abs(1 / factor - round(1 / factor)) < 2e-3 * abs(1 / factor):
        return f"1/{round(1 / factor)}"
    return f"{round(factor)}" if abs(factor - round(factor)) < 2e-3 * abs(factor) else f"{factor:.4g}"
