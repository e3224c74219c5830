"""How a moment departs from the exponential average that was asked for: one departure, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from parity.identify.answer import Finding
from parity.identify.exponential_average import Average, event
from parity.identify.points import Points, Reading, cast, lossy_formats, roundoff, smallest
from parity.numerics.formats import FORMATS, Format


class _Asked(NamedTuple):
    """A beta that is asked for, and the factor of the fresh term that was read out with it."""

    beta: float
    factor: Reading


_Factors = tuple[list[tuple[float, float]], Finding, float]
"""b and d of every group of points, what that is, and the scale of the fresh term."""


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
    """The moment with its one departure, or with none; unexplained where no known one accounts for every point.

    That subnormal numbers are flushed is no departure of the formula: another may stand beside it.
    """
    found = _departed(name, points, average)
    if found.explained:
        return found
    for finding, zero in _flushes(found):
        other = _departed(name, points, replace(average, exempt=zero))
        if other.explained:
            return replace(other, average=replace(other.average, exempt=None), findings=(*other.findings, finding))
    return found


def _departed(name: str, points: Points, average: Average) -> Moment:
    wrong = average.wrong
    plain = Moment(name, average, (), wrong, average.after, np.zeros(len(points)))
    if not wrong.any():
        return plain
    for departure in (_first_step, _waiting_rows, _event, _storage, _complement, _beta, _factor):
        found = departure(plain, points)
        if found is not None:
            return found
    return plain


def _first_step(moment: Moment, points: Points) -> Moment | None:
    average, wrong = moment.average, moment.wrong
    start = points.seen == 1
    with np.errstate(all="ignore"):
        same = np.abs(average.after - average.fresh) <= average.error
    if not (start[wrong].all() and same[start & average.judged].all()):
        return None
    detail = f"{moment.name} is {_fresh(moment)} itself at a parameter's first step, without the factor 1 - beta"
    return _settled(moment, Finding("bias-correction", detail, {"points": int(wrong.sum())}))


def _waiting_rows(moment: Moment, points: Points) -> Moment | None:
    average, wrong = moment.average, moment.wrong
    resting, still = points.empty & average.judged, average.after == average.before
    if not (still[resting].all() and (resting | (_cancelled(moment, points) & still))[wrong].all()):
        return None
    detail = f"{moment.name} does not decay in rows whose gradient is zero"
    return _settled(moment, Finding("sparse-rows", detail, {"points": int(wrong.sum())}))


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
    settled = _settled(moment, Finding("state-storage", detail, {"step": int(step), "points": int(moment.wrong.sum())}))
    # The update at that step took what was computed (stored wrongly) or what was recorded (loaded wrongly).
    middle = (average.after + average.expected) / 2
    apart = np.abs(average.after - average.expected) / 2 + average.error
    return replace(settled, used=np.where(there, middle, average.after), slack=np.where(there, apart, 0.0))


def _storage(moment: Moment, points: Points) -> Moment | None:
    average = moment.average
    for format in reversed(lossy_formats(average.format)):
        with np.errstate(all="ignore"):
            kept = cast(average.after, format) == average.after
            near = np.abs(average.after - cast(average.expected, format)) <= 2 * average.error + 1.5 * _spacing(
                average.after, format.precision, smallest(format)
            )
        if (kept & near)[average.judged].all() and (average.after != 0).any():
            detail = f"{moment.name} is kept in {format.name}"
            settled = _settled(moment, Finding("state-storage", detail, {"points": int(moment.wrong.sum())}))
            return replace(settled, slack=np.abs(average.after - average.expected) + average.error)
    return None


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


def _complement(moment: Moment, points: Points) -> Moment | None:
    """beta as asked, and 1 - beta as a format has it."""
    return _read(moment, points, Average.factor, _complements)


def _beta(moment: Moment, points: Points) -> Moment | None:
    """b = 1 - d, and another beta than was asked."""
    return _read(moment, points, Average.consistent, _consistent)


def _factor(moment: Moment, points: Points) -> Moment | None:
    """beta as asked, and another factor of the fresh term."""
    return _read(moment, points, Average.factor, _inconsistent)


def _read(
    moment: Moment,
    points: Points,
    measure: Callable[[Average, np.ndarray], Reading],
    judge: Callable[[Moment, list[_Asked]], _Factors | None],
) -> Moment | None:
    average = moment.average
    groups = groups_of(points)
    readings = []
    for group in range(groups.max() + 1):
        there = groups == group
        found = measure(average, average.judged & there)
        if found.empty:
            return None
        readings.append(_Asked(float(average.b[np.argmax(there)]), found))
    # A moment that never changes is no average; only a complement may round to 0.
    still = judge is not _complements and all(one.holds(0.0) for _, one in readings)
    judged = None if still else judge(moment, readings)
    if judged is None:
        return None
    factors, finding, scale = judged
    made = replace(average, b=np.array([b for b, _ in factors])[groups], d=np.array([d for _, d in factors])[groups])
    if made.wrong.any():
        return None
    return Moment(moment.name, made, (finding,), made.wrong, moment.used, moment.slack, scale)


def groups_of(points: Points) -> np.ndarray:
    """Number of the pair of betas that is asked for, from 0 on, (points,)."""
    pairs = np.unique(points.beta1 + 1j * points.beta2, return_inverse=True)[1]
    return np.asarray(pairs).reshape(-1)


def _consistent(moment: Moment, readings: list[_Asked]) -> _Factors:
    name = _beta_name(moment)
    asked = [beta for beta, _ in readings]
    intervals = [Reading(1 - one.high, 1 - one.low) for _, one in readings]
    for format in FORMATS.values():
        rounded = [float(cast(np.array(beta), format)) for beta in asked]
        if rounded != asked and all(one.holds(value) for one, value in zip(intervals, rounded, strict=True)):
            detail = f"{name} is kept in {format.name}: {_pairs(asked, rounded)}"
            finding = Finding("hyperparameter-rounding", detail, {"asked": asked, "in_force": rounded})
            return [(value, 1 - value) for value in rounded], finding, 1.0
    betas = [one.named((beta,)) for beta, one in zip(asked, intervals, strict=True)]
    detail = f"{name} in force is {_pairs(asked, betas)}"
    finding = Finding("hyperparameter-value", detail, {"asked": asked, "in_force": betas})
    return [(value, 1 - value) for value in betas], finding, 1.0


def _complements(moment: Moment, readings: list[_Asked]) -> _Factors | None:
    for format in FORMATS.values():
        made = [float(_one_minus(beta, format.name)) for beta, _ in readings]
        if all(one.holds(value) for value, (_, one) in zip(made, readings, strict=True)):
            own = format.precision >= moment.average.format.precision
            detail = f"1 - {_beta_name(moment)} before {_fresh(moment)} is formed in {format.name}"
            evidence = {"exact": [1 - beta for beta, _ in readings], "in_force": made}
            finding = Finding("hyperparameter-rounding", detail, evidence, own)
            return [(beta, value) for (beta, _), value in zip(readings, made, strict=True)], finding, 1.0
    return None


def _inconsistent(moment: Moment, readings: list[_Asked]) -> _Factors:
    name, fresh = moment.name, _fresh(moment)
    asked = [beta for beta, _ in readings]
    evidence: dict[str, Any] = {"asked": [1 - beta for beta in asked], "in_force": [one.middle for _, one in readings]}
    if all(one.holds(1.0) for _, one in readings):
        detail = f"{name} lacks the factor 1 - beta before {fresh}"
        return [(beta, 1.0) for beta in asked], Finding("unexplained", detail, evidence), 1.0
    bounds = [(one.low / (1 - beta), one.high / (1 - beta)) for beta, one in readings]
    common = Reading(max(low for low, _ in bounds), min(high for _, high in bounds))
    if common.empty:
        detail = f"{name} takes {fresh} with other factors than 1 - beta"
        return [(beta, one.middle) for beta, one in readings], Finding("gradient-scale", detail, evidence), 1.0
    scale = common.named(_powers(common))
    detail = f"{name} takes {fresh} times {scale:g}"
    evidence |= {"scale": scale}
    return [(beta, scale * (1 - beta)) for beta in asked], Finding("gradient-scale", detail, evidence), scale


def _powers(reading: Reading) -> Iterator[float]:
    """The power of two nearest to a reading, as loss scales are."""
    if reading.middle > 0:
        yield 2.0 ** round(np.log2(reading.middle))


def _settled(moment: Moment, finding: Finding) -> Moment:
    return replace(moment, findings=(finding,), wrong=np.zeros_like(moment.wrong))


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
