"""One epsilon for all steps in another convention: which is best, and what difference it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.adam.convention import Epsilon
from parity.adam.epsilon import check_epsilon, convert, root_correction
from parity.adam.epsilon_gap import border, curve, extremes, lobes, ranges_above
from parity.core.errors import UsageError
from parity.core.shown import Shown


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of an update (units of lr), and the size of a constant gradient and step that show it."""

    difference: float
    gradient: float
    step: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A constant eps for the target: the largest difference that it leaves over all steps and gradients."""

    eps: float
    gap: Gap


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step: the eps that is exact there, and what the constants leave.

    exact: None where it depends on v. same, best: largest difference over all gradients (units of lr).
    matters_same, matters_best: sizes of gradients whose update differs by more than the threshold, as
    ranges (from, to).
    """

    step: int
    exact: float | None
    same: float
    matters_same: tuple[tuple[float, float], ...]
    best: float
    matters_best: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Conversion(Shown):
    """An eps of `source`, carried to `target`, for steps 1 to `steps`.

    same: the number left as it is, what a careless port does. best: the constant whose largest
    difference is the smallest. vanishing: exact for gradients that vanish, at the last step. All
    differences are in units of lr and hold for a gradient that is the same at every step; for others
    they are |m_hat| / sqrt(v_hat) times as large, and sizes of gradients are those of sqrt(v_hat).
    settled: the first step from which on `same` differs by no more than the threshold for every
    gradient; None where there is none.
    """

    eps: float
    source: Epsilon
    target: Epsilon
    beta2: float
    steps: int
    threshold: float
    settled: int | None
    same: Candidate
    best: Candidate
    vanishing: Candidate
    rows: tuple[StepRow, ...]


def conversion(
    eps: float, source: Epsilon, target: Epsilon, *, beta2: float = 0.999, steps: int = 10_000, threshold: float = 1e-3
) -> Conversion:
    """All there is to say about an eps in another convention; UsageError where a number is out of range.

    steps: the length of the run. threshold: in units of lr, from which on a difference counts.
    """
    check_epsilon(eps, beta2, steps)
    if not 0 < threshold < 1:
        raise UsageError(f"threshold {threshold:g}: allowed: a number between 0 and 1, in units of lr")
    best = best_constant(eps, source, target, beta2=beta2, steps=steps)

    def candidate(constant: float) -> Candidate:
        return Candidate(constant, largest_gap(eps, source, constant, target, beta2=beta2, steps=steps))

    def row(step: int) -> StepRow:
        exact = None
        if source is target or Epsilon.INSIDE not in (source, target):
            exact = convert(eps, source, target, beta2=beta2, step=step)
        expected = curve(eps, source, beta2, step)
        same, other = curve(eps, target, beta2, step), curve(best, target, beta2, step)
        return StepRow(
            step=step,
            exact=exact,
            same=max((lobe.difference for lobe in lobes(same, expected)), default=0.0),
            matters_same=ranges_above(same, expected, threshold),
            best=max((lobe.difference for lobe in lobes(other, expected)), default=0.0),
            matters_best=ranges_above(other, expected, threshold),
        )

    return Conversion(
        eps=eps,
        source=source,
        target=target,
        beta2=beta2,
        steps=steps,
        threshold=threshold,
        settled=settled_step(source, target, beta2=beta2, threshold=threshold),
        same=candidate(eps),
        best=candidate(best),
        vanishing=candidate(convert(eps, source, target, beta2=beta2, step=steps)),
        rows=tuple(row(step) for step in shown_steps(steps)),
    )


def largest_gap(eps: float, source: Epsilon, constant: float, target: Epsilon, *, beta2: float, steps: int) -> Gap:
    """The largest difference of an update between two constants, over steps 1 to `steps` and all gradients.

    Only c = sqrt(1 - beta2^t) depends on t, and it only grows: the curve of HAT moves one way. Moving
    it, the largest difference over all gradients falls to one minimum and rises behind it, so it is
    largest at the first or at the last step.
    """
    gaps = [Gap(0.0, 0.0, 1)]
    for step in (1, steps):
        one, other = curve(eps, source, beta2, step), curve(constant, target, beta2, step)
        gaps += [Gap(lobe.difference, lobe.peak, step) for lobe in lobes(one, other)]
    return max(gaps, key=lambda gap: gap.difference)


def best_constant(eps: float, source: Epsilon, target: Epsilon, *, beta2: float, steps: int) -> float:
    """The constant eps of `target` whose largest difference (`largest_gap`) is the smallest.

    OUTSIDE and HAT: the differences of two scales are tanh(|ln(b / a)| / 4), so the logarithm is halved
    between the first and the last step: hat = outside * sqrt(c(1) c(T)), and tanh(ln(c(T) / c(1)) / 8)
    lr are left. To and from INSIDE: plain scales a(t) stand against p = sqrt(inside); the curve of
    INSIDE lies below that of a(T) by as much as above that of a(1), see `_balanced`.
    """
    first, last = (root_correction(beta2, step) for step in (1, steps))
    if source is target:
        return eps
    middle = math.sqrt(first * last)
    match source, target:
        case Epsilon.OUTSIDE, Epsilon.HAT:
            return eps * middle
        case Epsilon.HAT, Epsilon.OUTSIDE:
            return eps / middle
        case Epsilon.OUTSIDE, _:
            return (eps / _balanced(1.0)) ** 2
        case Epsilon.HAT, _:
            return (eps / (last * _balanced(last / first))) ** 2
        case _, Epsilon.OUTSIDE:
            return math.sqrt(eps) * _balanced(1.0)
        case _:
            return math.sqrt(eps) * last * _balanced(last / first)


def settled_step(source: Epsilon, target: Epsilon, *, beta2: float, threshold: float) -> int | None:
    """The first step from which on the same number differs by no more than `threshold` lr for every gradient.

    OUTSIDE and HAT: tanh(-ln(1 - beta2^t) / 8) <= threshold. None to and from INSIDE.
    """
    if source is target or beta2 == 0:
        return 1
    if Epsilon.INSIDE in (source, target):
        return None
    # Also where threshold and beta2 are so near 0 and 1 that 1 - exp(...) cancels.
    power = -math.expm1(-8 * math.atanh(threshold))
    return max(1, math.ceil(math.log(power) / math.log(beta2)))


def shown_steps(steps: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... and the last step."""
    shown = [digit * 10**power for power in range(len(str(steps))) for digit in (1, 2, 5)]
    return (*(step for step in shown if step < steps), steps)


def _balanced(spread: float) -> float:
    """The k at which x / sqrt(x^2 + 1) lies below x / (x + k) by as much as above x / (x + k * spread)."""

    def below_more(k: float) -> bool:
        return extremes(k)[0] > extremes(k * spread)[1]

    low = 0.5
    while not below_more(low):
        low /= 2
    return border(below_more, low, 1.0)
