"""How a moment departs from the exponential average that was asked for: one departure, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from parity.identify.answer import Finding
from parity.identify.exponential_average import Average, event
from parity.identify.points import Points, Reading, cast, lossy_formats, roundoff, smaller_formats, smallest
from parity.numerics.formats import FORMATS, Format

SHORT = 3
"""Digits of a beta that somebody has typed."""

COARSEST = 2.0**-8
"""Unit roundoff of bfloat16."""

MANY = 8
"""Values that a smaller format does not all hold by chance."""


class _Asked(NamedTuple):
    """A factor that is asked for, and what was read. tensor: of which, empty for all."""

    number: float
    factor: Reading
    tensor: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as it was found to be computed; arrays are (points,).

    name: m or v. average: with the factors in force. findings: departures from what was asked. wrong: mask of what is
    left unexplained. used, slack: the value that the update takes, and by how much that is uncertain. scale: by which
    the fresh term is too large, 1 where it is not.
    """

    name: str
    average: Average
    findings: tuple[Finding, ...]
    wrong: np.ndarray
    used: np.ndarray
    slack: np.ndarray
    scale: float = 1.0

    @property
    def explained(self) -> bool:
        """Whether every point is what is expected, to rounding."""
        return not self.wrong.any()


def moment(name: str, points: Points, average: Average) -> Moment:
    """The moment with every departure that it shows; unexplained where they do not account for every point.

    What format it is kept in is seen first, then its factors are read as most points have them, and what is left is
    looked at: rows, the first step, one step, subnormal numbers.
    """
    plain = Moment(name, average, (), average.wrong, average.after, np.zeros(len(points)))
    if plain.explained:
        return plain
    found = kept(plain)
    # With the factors that were asked first: what is left of few points is no other factor.
    for groups in (None, groups_of, tensors_of):
        factors = found
        if groups is not None:
            factors = _with_factors(found, points, groups(points), by_tensor=groups is tensors_of)
        made = _rest(factors, points)
        if made.explained:
            return made
    return plain


def _rest(found: Moment, points: Points) -> Moment:
    """With what accounts for the points that do not follow the factors."""
    for departure in (_first_step, _waiting_rows):
        found = departure(found, points) or found
    for finding, zero in ((None, None), *_flushes(found)) if found.wrong.any() else ():
        left = (
            found
            if zero is None
            else replace(
                found, wrong=found.wrong & ~zero, findings=(*found.findings, finding) if finding else found.findings
            )
        )
        if left.wrong.any():
            left = _event(left, points) or left
        if left.explained:
            return left
    return found


def _first_step(moment: Moment, points: Points) -> Moment | None:
    average = moment.average
    start = points.seen == 1
    with np.errstate(all="ignore"):
        # Here the rounding of what is averaged counts in full.
        same = np.abs(average.after - average.fresh) <= replace(average, d=np.ones_like(average.d)).error
    wrong = moment.wrong & start
    if not wrong.any() or not same[start & average.judged].all():
        return None
    detail = f"{moment.name} is {_fresh(moment)} itself at a parameter's first step, without the factor 1 - beta"
    return _settled(moment, Finding("bias-correction", detail, {"points": int(wrong.sum())}), wrong)


def _waiting_rows(moment: Moment, points: Points) -> Moment | None:
    average, wrong = moment.average, moment.wrong
    resting, still = points.empty & average.judged, average.after == average.before
    waits = wrong & (resting | (_cancelled(moment, points) & still))
    if not waits.any() or not still[resting].all():
        return None
    detail = f"{moment.name} does not decay in rows whose gradient is zero"
    return _settled(moment, Finding("sparse-rows", detail, {"points": int(waits.sum())}), waits)


def _cancelled(moment: Moment, points: Points) -> np.ndarray:
    """Mask of points whose gradient may be zero once its terms are summed in the dtype; such a row may be empty."""
    average = moment.average
    if average.scale is None:
        return np.zeros(len(points), bool)
    lost = (2 * roundoff(average.format)) ** (1 if moment.name == "m" else 2)
    return np.asarray((points.axes < 2) & (np.abs(average.fresh) <= lost * average.scale))


def _event(moment: Moment, points: Points) -> Moment | None:
    found = event(points, moment.average, moment.wrong)
    if found is None:
        return None
    what, step = found
    detail = f"at step {step:g} {moment.name} {what}"
    there = points.step == step
    average = moment.average
    finding = Finding("state-storage", detail, {"step": int(step), "points": int(moment.wrong.sum())})
    settled = _settled(moment, finding, moment.wrong)
    # The update at that step took what was computed (stored wrongly) or what was recorded (loaded wrongly).
    middle = (average.after + average.expected) / 2
    apart = np.abs(average.after - average.expected) / 2 + average.error
    return replace(settled, used=np.where(there, middle, settled.used), slack=np.where(there, apart, settled.slack))


def kept(moment: Moment) -> Moment:
    """With the smallest format that holds every value; its rounding counts as an error from here on."""
    average = moment.average
    if not (average.after != 0).any():
        return moment
    for format in reversed(lossy_formats(average.format)):
        with np.errstate(all="ignore"):
            held = (cast(average.after, format) == average.after) | np.isnan(average.after)
            # A moment of few values may be one of a smaller format by chance.
            if not held.all() or len(np.unique(average.after)) < MANY:
                continue
            # A format of more bits and a smaller range holds all by chance, unless it would have changed some.
            lost = np.abs(cast(average.expected, format) - average.expected) > average.error
            if format.precision >= average.format.precision and not lost.any():
                continue
            loose = 1.5 * _spacing(average.after, format.precision, smallest(format))
            looser = replace(average, loose=loose + average.error)
        finding = Finding("state-storage", f"{moment.name} is kept in {format.name}", {"format": format.name})
        return replace(moment, average=looser, findings=(finding,), slack=loose + average.error, wrong=looser.wrong)
    return moment


def _spacing(values: np.ndarray, precision: int, least: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(np.maximum(np.abs(values) * 2.0 ** (1 - precision), least))


def _flushes(moment: Moment) -> Iterator[tuple[Finding, np.ndarray]]:
    """That subnormal numbers count as zero, and the mask of the points where they may have."""
    average, wrong = moment.average, moment.wrong
    own = _least_normal(average.format)
    with np.errstate(all="ignore"):
        lost = np.abs(average.expected - average.after)
        for least in sorted({own, _least_normal(FORMATS["float32"])}):
            # A subnormal operand or term counts as zero, too: what is missing may be a few times as large.
            region = lost <= 4 * least
            # A moment beside which a lost term shows is not subnormal itself. With float32's range: only zeros.
            region &= np.abs(average.after) <= (least * 2.0**average.format.precision if least == own else 0)
            there = wrong & region
            if not (average.after[there] == 0).any():
                continue
            name = average.format.name if least == own else "float32"
            detail = f"{moment.name} is 0 where it is subnormal in {name}"
            evidence = {"points": int(there.sum()), "largest": float(np.abs(average.expected[there]).max())}
            yield Finding("subnormal-flush", detail, evidence, benign=least == own), region


def _least_normal(format: Format) -> float:
    return float(np.ldexp(1.0, 2 - 2 ** (format.exponent_bits - 1)))


def _with_factors(moment: Moment, points: Points, groups: np.ndarray, *, by_tensor: bool) -> Moment:
    """The factors that most points of every group have; as they are where none fits more of them."""
    average = moment.average
    waiting = points.empty & (average.after == average.before)
    judged_points, excused = average.judged & ~waiting, _excused(moment, points)
    offered = []
    for group in range(groups.max() + 1):
        there = (groups == group) & judged_points
        candidates = list(_candidates(average, there))
        # An average of something else: the other groups need not be read.
        at_one_step = int(np.bincount(points.step[there].astype(int), minlength=1).max())
        strange = min(one.wrong for one in candidates) - int((excused & there).sum()) - at_one_step
        if 2 * strange > there.sum():
            return moment
        offered.append((int(np.argmax(groups == group)), candidates))
    judged = None
    # A gradient of another scale is less likely than the complement of another beta, where that fits as well.
    for order in (lambda one: one.wrong, lambda one: (one.wrong, not one.complement)):
        readings: list[tuple[_Asked, _Asked]] = []
        for where, candidates in offered:
            found = min(candidates, key=order)
            asked, name = float(average.b[where]), str(points.tensor[where]) if by_tensor else ""
            readings.append((_Asked(asked, found.b, name), _Asked(1 - asked, found.d, name)))
        judged = _words(moment, readings, by_tensor)
        if judged is None or not any(one.family == "gradient-scale" for one in judged[1]):
            break
    if judged is None:
        return moment
    factors, findings, scale = judged
    made = replace(average, b=np.array([b for b, _ in factors])[groups], d=np.array([d for _, d in factors])[groups])
    left = made.wrong
    if (left & ~waiting).sum() >= (moment.wrong & ~waiting).sum():
        return moment
    return replace(moment, average=made, findings=(*moment.findings, *findings), wrong=left, scale=scale)


def _excused(moment: Moment, points: Points) -> np.ndarray:
    """Mask of points that may be accounted for without a factor, but for those of one step."""
    average = moment.average
    small = np.abs(average.after) <= _least_normal(average.format) * 2.0**average.format.precision
    return np.asarray((points.seen == 1) | points.empty | _cancelled(moment, points) | small)


class _Factors(NamedTuple):
    """Both factors as they were read, and how many points have others; complement: whether d is 1 - b by design."""

    b: Reading
    d: Reading
    wrong: int
    complement: bool = False


def _candidates(average: Average, there: np.ndarray) -> Iterator[_Factors]:
    """Factors of a group of points: as asked; one of them; b = 1 - d; b where nothing is averaged, and d."""
    some = average.at(there)
    if not len(some.b):
        yield _Factors(Reading(1.0, 0.0), Reading(1.0, 0.0), 0)
        return
    asked = Reading(float(some.b[0]), float(some.b[0]))
    one = Reading(float(some.d[0]), float(some.d[0]))

    def held(b: Reading, d: Reading) -> _Factors:
        tried = replace(some, b=np.full(len(some.b), b.middle), d=np.full(len(some.b), d.middle))
        return _Factors(b, d, int(tried.wrong.sum()))

    factor = some.factor()
    # What was read, where that is what was asked: it may be a rounded complement as well.
    yield held(asked, one)._replace(d=factor if factor.holds(one.low) else one)
    yield held(asked, factor)
    both = some.consistent()
    yield held(Reading(1 - both.high, 1 - both.low), both)._replace(complement=True)
    rate = some.decay()
    if not rate.empty:
        known = replace(some, b=np.full(len(some.b), rate.middle))
        yield held(rate, known.factor())


def groups_of(points: Points) -> np.ndarray:
    """Number of the pair of betas that is asked for, from 0 on, (points,)."""
    one, other = (np.unique(beta, return_inverse=True)[1].reshape(-1) for beta in (points.beta1, points.beta2))
    return np.asarray(np.unique(one * (int(other.max(initial=0)) + 1) + other, return_inverse=True)[1]).reshape(-1)


def tensors_of(points: Points) -> np.ndarray:
    """Number of the pair of betas and the tensor, from 0 on, (points,)."""
    # Names are compared once for every tensor of a probe: of all points they take as long as all else.
    places = points.probe * (int(points.place.max(initial=0)) + 1) + points.place.astype(int)
    _, first, back = np.unique(places, return_index=True, return_inverse=True)
    names = np.unique(points.tensor[first], return_inverse=True)[1].reshape(-1)[back.reshape(-1)]
    keys = groups_of(points) * (int(names.max(initial=0)) + 1) + names
    return np.asarray(np.unique(keys, return_inverse=True)[1]).reshape(-1)


def _words(
    moment: Moment, readings: list[tuple[_Asked, _Asked]], by_tensor: bool
) -> tuple[list[tuple[float, float]], tuple[Finding, ...], float] | None:
    """b and d of every group, what they depart in, and the scale of the fresh term; None where nothing departs."""
    betas, of_betas = _beta_words(moment, [b for b, _ in readings], by_tensor)
    complements, of_complement, scale = _complement_words(moment, betas, [d.factor for _, d in readings])
    # A moment that never changes is no average; only a complement may round to 0.
    still = all(d.factor.holds(0.0) for _, d in readings) and not (
        of_complement is not None and of_complement.family == "hyperparameter-rounding"
    )
    findings = (*of_betas, *([of_complement] if of_complement is not None else []))
    return None if still or not findings else (list(zip(betas, complements, strict=True)), findings, scale)


def _beta_words(moment: Moment, readings: list[_Asked], by_tensor: bool) -> tuple[list[float], tuple[Finding, ...]]:
    name = _beta_name(moment)
    asked = [one.number for one in readings]
    if all(one.factor.holds(one.number) for one in readings):
        return asked, ()
    for format in FORMATS.values():
        rounded = [float(cast(np.array(beta), format)) for beta in asked]
        if rounded != asked and all(one.factor.holds(value) for one, value in zip(readings, rounded, strict=True)):
            detail = f"{name} is kept in {format.name}: {_pairs(asked, rounded)}"
            return rounded, (Finding("hyperparameter-rounding", detail, {"asked": asked, "in_force": rounded}),)
    betas = [one.factor.named((one.number,)) for one in readings]
    apart = by_tensor and len(set(zip(asked, betas, strict=True))) > len(set(asked))
    evidence = {"asked": asked, "in_force": betas}
    if not apart:
        value = Finding("hyperparameter-value", f"{name} in force is {_pairs(asked, betas)}", evidence)
        typed = [one for one in smaller_formats(moment.average.format) if _typed_in(one, readings, betas)]
        if not typed:
            return betas, (value,)
        return betas, (value, Finding("hyperparameter-rounding", f"{name} is kept in {typed[0].name}", evidence))
    told = [
        f"{beta:.10g} where {one.number!r} was asked for {one.tensor!r}"
        for one, beta in zip(readings, betas, strict=True) if beta != one.number
    ]  # fmt: skip
    return betas, (Finding("parameter-groups", f"{name} in force is {', '.join(told)}", evidence),)


def _typed_in(format: Format, readings: list[_Asked], betas: list[float]) -> bool:
    """Whether numbers that nobody would type are short ones in that format."""
    short = [float(f"{beta:.{SHORT}g}") for beta in betas]
    return short != betas and all(
        one.factor.holds(float(cast(np.array(beta), format))) for one, beta in zip(readings, short, strict=True)
    )


def _complement_words(
    moment: Moment, betas: list[float], readings: list[Reading]
) -> tuple[list[float], Finding | None, float]:
    name, fresh = moment.name, _fresh(moment)
    exact = [1 - beta for beta in betas]
    if all(one.holds(value) for one, value in zip(readings, exact, strict=True)):
        return exact, None, 1.0
    for format in FORMATS.values():
        made = [float(_one_minus(beta, format.name)) for beta in betas]
        if all(one.holds(value) for one, value in zip(readings, made, strict=True)):
            own = format.precision >= moment.average.format.precision
            detail = f"1 - {_beta_name(moment)} before {fresh} is formed in {format.name}"
            evidence = {"exact": exact, "in_force": made}
            return made, Finding("hyperparameter-rounding", detail, evidence, own), 1.0
    read = [one.middle for one in readings]
    if any(one.empty for one in readings) or 0 in exact:
        return read, None, 1.0
    told: dict[str, Any] = {"asked": exact, "in_force": read}
    if all(one.holds(1.0) for one in readings):
        return [1.0] * len(betas), Finding("unexplained", f"{name} lacks the factor 1 - beta before {fresh}", told), 1.0
    bounds = [(one.low / value, one.high / value) for one, value in zip(readings, exact, strict=True)]
    common = Reading(max(low for low, _ in bounds), min(high for _, high in bounds))
    if common.empty:
        detail = f"{name} takes {fresh} with other factors than 1 - beta"
        # As far as any format rounds 1 - beta: a number that was rounded somehow, and no other gradient.
        near = all(abs(one / value - 1) <= COARSEST for one, value in zip(read, exact, strict=True))
        return read, Finding("hyperparameter-rounding" if near else "gradient-scale", detail, told), 1.0
    scale = common.named(_powers(common))
    finding = Finding("gradient-scale", f"{name} takes {fresh} times {scale:g}", told | {"scale": scale})
    return [scale * value for value in exact], finding, scale


def _powers(reading: Reading) -> Iterator[float]:
    """The power of two nearest to a reading, as loss scales are."""
    if reading.middle > 0:
        yield 2.0 ** round(np.log2(reading.middle))


def _settled(moment: Moment, finding: Finding, accounted: np.ndarray) -> Moment:
    """With one more departure, which accounts for some points."""
    return replace(moment, findings=(*moment.findings, finding), wrong=moment.wrong & ~accounted)


def _one_minus(beta: float, format: str) -> np.ndarray:
    # beta is rounded before it is subtracted: 1 - float32(0.999) is not float32(0.001).
    return cast(1 - cast(np.array(beta), FORMATS[format]), FORMATS[format])


def _beta_name(moment: Moment) -> str:
    return "beta1" if moment.name == "m" else "beta2"


def _fresh(moment: Moment) -> str:
    return "g" if moment.name == "m" else "g^2"


def _pairs(asked: list[float], in_force: list[float]) -> str:
    pairs = dict.fromkeys(zip(asked, in_force, strict=True))
    return ", ".join(f"{value:.10g} where {beta!r} was asked" for beta, value in pairs)
