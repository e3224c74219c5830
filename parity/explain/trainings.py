"""Two trainings that part: from the start, by their gradients, by their optimizers, and what share each of them has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.case.pairing import CommonSteps, Pairing, common_steps, names_of, pair_parameters
from parity.case.recording import Recording, check_recording
from parity.case.recording_header import STATES
from parity.comparison.divergence import Label, Measured
from parity.comparison.recordings import NotFinite, Tensor, measure_recordings
from parity.core.errors import ParityError
from parity.explain.libraries import Libraries
from parity.explain.likeness import Gradient, first_unlike, told_of
from parity.explain.shares import Optimizers, Step, side_of, weigh_optimizers
from parity.numerics.ulp import ulp_distance

NEAR = 0.01
"""In units of lr: farther apart at any step, two trainings are not called alike."""


@dataclass(frozen=True, slots=True)
class Start:
    """A tensor whose beginning differs, in its weights or a moment. untransposed: the weights are equal as they lie."""

    actual: str
    expected: str
    quantity: str
    ulp: int
    largest: float
    untransposed: bool


@dataclass(frozen=True, slots=True)
class Training:
    """What was recorded. name: what tells it from the other; counted: steps that its optimizer had counted before."""

    name: str
    folder: str
    framework: str
    versions: Mapping[str, str]
    optimizer: str
    device: str
    steps: int
    parameters: int
    counted: int


@dataclass(frozen=True, slots=True)
class Trainings:
    """What two recordings come to.

    steps: those that both recorded. starts: tensors that begin apart. step, gradients: how the gradients of a step
    stand to each other on equal weights. optimizers, curve: None and empty where nothing can be told of them, and
    why_not says why. tensors: how far the sides of every pair come apart. alike: whether nothing but rounding parts
    them.
    """

    actual: Training
    expected: Training
    pairing: Pairing
    steps: CommonSteps
    starts: tuple[Start, ...]
    step: int
    gradients: tuple[Gradient, ...]
    optimizers: Optimizers | None
    why_not: str
    curve: tuple[Step, ...]
    tensors: tuple[Tensor, ...]
    alike: bool
    sentence: str

    @property
    def broken(self) -> NotFinite | None:
        """The first number that is none."""
        found = [one.not_finite for one in self.tensors if one.not_finite is not None]
        return min(found, key=lambda one: (one.step, one.quantity != "gradients"), default=None)


def compare_trainings(
    actual: Recording,
    expected: Recording,
    asked: Mapping[str, str] | None = None,
    arrived: Callable[[Label, Measured], None] = lambda label, measured: None,
) -> Trainings:
    """Hold two recordings against each other, in the order in which one would look for the cause.

    asked: pairs of names that decide, as `pair_parameters` has it. arrived: is handed the rows of the divergence table.
    ParityError where a recording is damaged, NothingCompared where they have no parameter or no step in common.
    """
    names = names_of(actual, expected)
    for one in (actual, expected):
        check_recording(one)
    pairing = pair_parameters(actual, expected, asked)
    steps = common_steps(actual, expected)
    starts = tuple(_starts(actual, expected, pairing, steps))
    step, gradients = first_unlike(actual, expected, pairing, steps)
    optimizers, curve, why_not = _optimizers(actual, expected, pairing, steps)
    found = Trainings(
        _training(actual, names[0], steps.begins[0]),
        _training(expected, names[1], steps.begins[1]),
        pairing,
        steps,
        starts,
        step,
        gradients,
        optimizers,
        why_not,
        curve,
        tuple(measure_recordings(actual, expected, pairing, steps, arrived)),
        False,
        "",
    )
    found = replace(found, alike=_alike(found, actual, expected))
    return replace(found, sentence=_sentence(found))


def _training(recording: Recording, name: str, begin: int) -> Training:
    told = recording.told
    return Training(
        name,
        str(recording.folder),
        str(told["framework"]),
        dict(told["versions"]),
        str(told["optimizer"]),
        str(told["device"]),
        recording.steps,
        len(recording.parameters),
        max(told["t"]) if begin == 1 else max(recording.step(begin).t) - 1,
    )


def _starts(actual: Recording, expected: Recording, pairing: Pairing, steps: CommonSteps) -> Iterator[Start]:
    for quantity in (one for one in STATES if one in actual.quantities and one in expected.quantities):
        for pair in pairing.pairs:
            one = actual.before(quantity, pair.actual, steps.begins[0])
            lying = expected.before(quantity, pair.expected, steps.begins[1]).astype(one.dtype)
            two = lying[pair.place]
            if one.tobytes() == two.tobytes():
                continue
            largest = float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max())
            as_they_lie = quantity == "w" and one.tobytes() == lying.tobytes()
            ulp = int(ulp_distance(one, two).max())
            yield Start(pair.actual, pair.expected, quantity, ulp, largest, as_they_lie)


def _optimizers(
    actual: Recording, expected: Recording, pairing: Pairing, steps: CommonSteps
) -> tuple[Optimizers | None, tuple[Step, ...], str]:
    if steps.begins != (1, 1):
        return None, (), "their recordings begin at different steps"
    try:
        sides = side_of(actual), side_of(expected)
    except ParityError as error:
        return None, (), str(error)
    with Libraries() as libraries:
        optimizers, curve = weigh_optimizers(sides, pairing, libraries)
    return optimizers, tuple(replace(one, number=one.number + steps.first - 1) for one in curve), ""


def _alike(found: Trainings, actual: Recording, expected: Recording) -> bool:
    """What only one has, or what was not compared, is never alike."""
    same_optimizer = found.optimizers is not None and not found.optimizers.choices
    whole = not any(found.pairing.alone) and actual.steps == expected.steps == found.steps.count
    near = bool(found.curve) and max(one.lr for one in found.curve) <= NEAR
    rounding = all(one.alike for one in found.gradients) and found.broken is None
    return not found.starts and rounding and same_optimizer and whole and _same_count(found) and near


def _same_count(found: Trainings) -> bool:
    return found.actual.counted == found.expected.counted


def _sentence(found: Trainings) -> str:
    """Who is to blame, in one sentence."""
    if found.alike:
        return "alike: the same start, the same gradients and the same optimizer; what parts them is rounding"
    if found.starts:
        return f"not the optimizer: {_start_told(found)}"
    if not _same_count(found):
        before = " and ".join(f"{count:,}" for count in (found.actual.counted, found.expected.counted))
        return f"they do not start at the same step: {before} steps were counted before"
    unlike = [one for one in found.gradients if not one.alike]
    if unlike:
        told = told_of(unlike, len(found.gradients), found.step)
        if not found.curve:
            return f"not the optimizer: the gradients {told}"
        last = found.curve[-1]
        share = f"{100 * last.gradients:.1f} % of the difference after {last.number:,} steps"
        return f"not the optimizer: {share} comes from gradients that {told}"
    if found.broken is not None:
        return f"the gradients of the first step are alike; {_broken_told(found.broken)}"
    if found.optimizers is None:
        return f"the gradients of the first step are alike; of the optimizers nothing can be told: {found.why_not}"
    if found.optimizers.choices:
        differing = "; ".join(
            f"{one.name} is {one.actual} and {one.expected} ({one.steps:.2g} lr)" for one in found.optimizers.choices
        )
        advice = f"{found.optimizers.advice}: " if found.optimizers.advice else "made alike, "
        return f"the optimizer: {differing}; {advice}{found.optimizers.left:.2g} lr are left"
    if any(found.pairing.alone):
        only = [name for side in found.pairing.alone for name in side]
        told = "1 parameter stands" if len(only) == 1 else f"{len(only)} parameters stand"
        return f"alike in what both have; {told} in one of them only, and were not compared: {only[0]}"
    if found.curve and max(one.lr for one in found.curve) <= NEAR:
        return f"alike in the {found.steps.count:,} steps that both have; the rest was not compared"
    return (
        "the optimizers do the same, and the gradients are alike for as long as the weights are equal: "
        "the trainings part by rounding, or by gradients that differ later"
    )


def _broken_told(broken: NotFinite) -> str:
    quantity = {"gradients": "the gradient"}.get(broken.quantity, broken.quantity)
    where = "both" if broken.side == "both" else f"{broken.side} alone"
    return f"from step {broken.step:,} on {quantity} of {broken.parameter} holds NaN or inf, in {where}"


def _start_told(found: Trainings) -> str:
    lying = [one.actual for one in found.starts if one.untransposed]
    if lying:
        return f"{', '.join(lying)} was copied without being transposed, so the trainings start apart"
    first, of = found.starts[0], len(found.pairing.pairs)
    what = "" if first.quantity == "w" else f"{first.quantity} of "
    many = len({one.actual for one in found.starts})
    return f"they start apart, in {many} of {of} tensors ({what}{first.actual} by up to {first.largest:.3g})"
