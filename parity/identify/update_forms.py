"""The update of the weights in every form, with every bias correction, and how far rounding may move it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from parity.identify.points import Reading, cast, greatest, intersection, roundoff, smallest
from parity.numerics.formats import FORMATS, Format

ROUNDINGS = 6.0
"""Half units of numerator and of denominator each: lr, its divisor, their quotient, product, one to spare, sqrt."""


POWER_ERROR = 2.0**-52
"""One place of a power of beta in double precision."""


Divisors = tuple[np.ndarray, np.ndarray]

COUNTER_ENDS = (256, 2048, 128, 255, 2047)
"""Where counters of few bits stand still: those of bfloat16 and float16, which halves do not tell from 255 and 2047."""


class Form(StrEnum):
    """How an update is made of m, v and eps; c1 and c2 are the divisors of the bias correction."""

    OUTSIDE = "lr * (m / c1) / (sqrt(v / c2) + eps)"
    HAT = "lr * sqrt(c2) / c1 * m / (sqrt(v) + eps)"
    INSIDE = "lr * (m / c1) / sqrt(v / c2 + eps)"
    TWICE = "lr * (m / c1) / (sqrt(v / c2 + eps) + eps)"
    NO_ROOT = "lr * (m / c1) / (v / c2 + eps)"
    NESTEROV = "lr * (beta1 * m / (1 - beta1^(t+1)) + (1 - beta1) * g / c1) / (sqrt(v / c2) + eps)"
    NESTEROV_HAT = "lr * sqrt(c2) * (beta1 * m / (1 - beta1^(t+1)) + (1 - beta1) * g / c1) / (sqrt(v) + eps)"


@dataclass(frozen=True, slots=True)
class Moves:
    """One weight at one step, many times over: every array is (points,), as `Points` has it.

    m, v: what the update takes, and by how much each is uncertain; w_error: by how much w1 is, beyond its
    rounding. beta1, beta2: in force in the moments; asked1, asked2: as asked.
    """

    w0: np.ndarray
    w1: np.ndarray
    w_error: np.ndarray
    m: np.ndarray
    m_error: np.ndarray
    v: np.ndarray
    v_error: np.ndarray
    g: np.ndarray
    lr: np.ndarray
    first_lr: np.ndarray
    eps: np.ndarray
    decay: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    asked1: np.ndarray
    asked2: np.ndarray
    step: np.ndarray
    seen: np.ndarray
    place: np.ndarray
    of: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def at(self, chosen: np.ndarray) -> Moves:
        """Some of the points, by mask or by index."""
        return Moves(*(getattr(self, field.name)[chosen] for field in fields(self)))


class Scale(NamedTuple):
    """The numbers of an update, each (points,): divisors of the bias correction, step size, eps, count."""

    c1: np.ndarray
    c2: np.ndarray
    lr: np.ndarray
    eps: np.ndarray
    t: np.ndarray


class Change(NamedTuple):
    """What is subtracted from the weights: its direction, and the least and the greatest it may be, (points,)."""

    direction: np.ndarray
    low: np.ndarray
    high: np.ndarray


class _Parts(NamedTuple):
    """Numerator (with its sign) and v under the root, with their errors; den = root(v) + eps."""

    numerator: np.ndarray
    numerator_error: np.ndarray
    v: np.ndarray
    v_error: np.ndarray


def change(moves: Moves, form: Form, scale: Scale, format: Format) -> Change:
    """The change that a form prescribes, however its operations are rounded."""
    u, least = roundoff(format), smallest(format)
    with np.errstate(all="ignore"):
        parts = _parts(moves, form, scale, format)
        low, high = _denominators(form, parts, scale.eps, format)
        # The reciprocal of a denominator may overflow where the quotient does not; so may the corrected v.
        low = np.where(low * greatest(format) < 1, 0.0, low)
        high = np.where(parts.v + parts.v_error > greatest(format), np.inf, high)
        size = np.abs(parts.numerator)
        most = (size + parts.numerator_error) / low
        fewest = size - parts.numerator_error
        # Where m may have either sign, so may the change.
        fewest = np.where(fewest >= 0, fewest / high * (1 - 3 * u), fewest / low * (1 + 3 * u))
        return Change(
            np.where(parts.numerator < 0, -1.0, 1.0),
            fewest - least,
            np.where(low > 0, most * (1 + 3 * u) + least, np.inf),
        )


def middle(moves: Moves, form: Form, scale: Scale) -> np.ndarray:
    """The change that a form prescribes in real numbers."""
    with np.errstate(all="ignore"):
        parts = _parts(moves, form, scale, FORMATS["float64"])
        match form:
            case Form.NO_ROOT:
                denominator = parts.v + scale.eps
            case Form.INSIDE:
                denominator = np.sqrt(parts.v + scale.eps)
            case Form.TWICE:
                denominator = np.sqrt(parts.v + scale.eps) + scale.eps
            case _:
                denominator = np.sqrt(parts.v) + scale.eps
        return np.asarray(parts.numerator / denominator)


def wrong(moves: Moves, changed: Change, left: np.ndarray, format: Format) -> np.ndarray:
    """Mask of the points whose weight is not what the change makes of it.

    left: (points,), the weights before the change, after any decay. A point at which rounding may divide by zero, or
    which overflows on the way, is never wrong.
    """
    u, least, most = roundoff(format), smallest(format), greatest(format)
    with np.errstate(all="ignore"):
        slack = moves.w_error + u * (
            2 * np.abs(moves.w1) + 3 * np.abs(left - moves.w0) + 2 * (left != moves.w0) * np.abs(moves.w0)
        )
        moved = (left - moves.w1) * changed.direction
        inside = (moved >= changed.low - slack - least) & (moved <= changed.high + slack + least)
        free = ~np.isfinite(moves.w0) | ~np.isfinite(moves.m) | (np.abs(moves.v) > most / 4096) | np.isnan(moves.v)
        undefined = np.isnan(changed.low) | np.isnan(changed.high)
        vanished = ~np.isfinite(moves.w1) & (undefined | (changed.high == np.inf))
        return np.asarray(~(inside | free | vanished | (undefined & (np.abs(left - moves.w1) <= slack))))


def factor(moves: Moves, changed: Change, format: Format) -> Reading:
    """The number by which the change has to be multiplied, so that all points follow; no decay."""
    with np.errstate(all="ignore"):
        slack = moves.w_error + roundoff(format) * 2 * np.abs(moves.w1) + smallest(format)
        moved = (moves.w0 - moves.w1) * changed.direction
        usable = (changed.low > 0) & np.isfinite(changed.high) & np.isfinite(moved) & (moves.v < greatest(format))
        low = np.minimum((moved - slack) / changed.high, (moved - slack) / changed.low)
        high = np.maximum((moved + slack) / changed.low, (moved + slack) / changed.high)
        return intersection(np.where(usable, low, np.nan), np.where(usable, high, np.nan))


def epsilon(moves: Moves, form: Form, scale: Scale, format: Format) -> Reading:
    """The eps that all points need, in units of `scale.eps`; empty for a form that has no one eps."""
    if form in (Form.TWICE, Form.NO_ROOT):
        return Reading(np.inf, -np.inf)
    u = roundoff(format)
    with np.errstate(all="ignore"):
        parts = _parts(moves, form, scale, format)
        slack = moves.w_error + u * 2 * np.abs(moves.w1) + smallest(format)
        moved = (moves.w0 - moves.w1) * np.sign(parts.numerator)
        size = np.abs(parts.numerator)
        most = (size + parts.numerator_error) / np.maximum(moved - slack, 0) * (1 + 6 * u)
        fewest = (size - parts.numerator_error) / (moved + slack) * (1 - 6 * u)
        usable = (size > 0) & np.isfinite(moved) & (moved > -slack) & (moves.v < greatest(format))
        v_low, v_high = np.maximum(parts.v - parts.v_error, 0), parts.v + parts.v_error
        if form is Form.INSIDE:
            low, high = fewest**2 - v_high, most**2 - v_low
        else:
            low, high = fewest - np.sqrt(v_high) * (1 + 2 * u), most - np.sqrt(v_low) * (1 - 2 * u)
        usable &= scale.eps > 0
        low, high = low / scale.eps * (1 - u), high / scale.eps * (1 + u)
        return intersection(np.where(usable, low, np.nan), np.where(usable, high, np.nan))


def _parts(moves: Moves, form: Form, scale: Scale, format: Format) -> _Parts:
    u, least = roundoff(format), smallest(format)
    # What is rounded only where it is stored goes into the update as it was.
    m, m_error = moves.m, moves.m_error + np.maximum(u * np.abs(moves.m), least / 2) * (moves.m != 0)
    kept = np.maximum(u * np.abs(moves.v), least / 2)
    if form in (Form.NESTEROV, Form.NESTEROV_HAT):
        # Each term has its own divisor (Dozat 2016, NAdam): c1 is taken out again by `by`.
        first = moves.beta1 * moves.m / (1 - moves.beta1 ** (scale.t + 1))
        second = (1 - moves.beta1) * moves.g / scale.c1
        m = (first + second) * scale.c1
        m_error = m_error + 4 * u * (np.abs(first) + np.abs(second)) * np.abs(scale.c1)
    hat = form in (Form.HAT, Form.NESTEROV_HAT)
    by = scale.lr / scale.c1 * np.where(hat, np.sqrt(scale.c2), 1.0)
    # beta^t may be off by one place of a double, which 1 - beta^t magnifies.
    off1, off2 = (POWER_ERROR * np.maximum(np.abs(one), 1 / np.abs(one)) for one in (scale.c1, scale.c2))
    # HAT puts sqrt(c2) into the step size, before eps is added (Kingma & Ba 2015, before section 2.1).
    v = moves.v if hat else moves.v / scale.c2
    v_error = (
        moves.v_error + kept if hat else (moves.v_error + kept) / scale.c2 * (1 + off2) + (3 * u + off2) * v + least
    )
    # A subnormal m / c1 or lr * m is off by a spacing before the other factor comes.
    subnormal = least * (1 + np.abs(scale.lr))
    relative = ROUNDINGS * u + off1 + hat * off2
    return _Parts(by * m, relative * np.abs(by * m) + np.abs(by) * m_error * (1 + relative) + subnormal, v, v_error)


def _denominators(form: Form, parts: _Parts, eps: np.ndarray, format: Format) -> tuple[np.ndarray, np.ndarray]:
    u, least = roundoff(format), smallest(format)
    eps_low, eps_high = np.maximum(eps * (1 - 2 * u) - least / 2, 0), eps * (1 + 2 * u) + least / 2
    v_low, v_high = np.maximum(parts.v - parts.v_error, 0), parts.v + parts.v_error
    if form is Form.NO_ROOT:
        low, high = v_low + eps_low, v_high + eps_high
    elif form is Form.INSIDE:
        low, high = np.sqrt(np.maximum(v_low + eps_low - least, 0)), np.sqrt(v_high + eps_high + least)
    elif form is Form.TWICE:
        low, high = np.sqrt(v_low + eps_low) + eps_low, np.sqrt(v_high + eps_high) + eps_high
    else:
        low, high = np.sqrt(v_low) + eps_low, np.sqrt(v_high) + eps_high
    return low * (1 - ROUNDINGS / 2 * u), high * (1 + ROUNDINGS / 2 * u)


@dataclass(frozen=True, slots=True)
class Correction:
    """A way to correct the bias. family: empty where it is the one of the paper; benign: only rounds in the dtype.

    text: c1 and c2 in a formula. divisors: of points and their count t.
    """

    name: str
    family: str
    detail: str
    text: str
    divisors: Callable[[Moves, np.ndarray], Divisors]
    benign: bool = False


def _paper(moves: Moves, t: np.ndarray) -> Divisors:
    return 1 - moves.beta1**t, 1 - moves.beta2**t


def _one(moves: Moves) -> np.ndarray:
    return np.ones(len(moves))


PAPER = Correction("both", "", "", "c1 = 1 - beta1^t; c2 = 1 - beta2^t", _paper)


def corrections(format: Format) -> Iterator[Correction]:
    """All of them, the paper's first; of two that are equal in real numbers the likelier one first."""
    yield PAPER
    yield from _formulas()
    yield from _counts()
    for kept in sorted(FORMATS.values(), key=lambda one: -one.precision):
        if kept.name != "float64":
            yield from _rounded(kept, format)
    if format.name == "float64":
        yield from _steps_in_float32(format)


def _formulas() -> Iterator[Correction]:
    def paper(change: Callable[[np.ndarray, np.ndarray, Moves], Divisors]) -> Callable[..., Divisors]:
        return lambda moves, t: change(*_paper(moves, t), moves)

    for name, detail, text, divisors in (
        ("v", "m is used without bias correction", "c1 = 1; c2 = 1 - beta2^t", lambda c1, c2, p: (_one(p), c2)),
        ("m", "v is used without bias correction", "c1 = 1 - beta1^t; c2 = 1", lambda c1, c2, p: (c1, _one(p))),
        ("none", "m and v are used without bias correction", "c1 = 1; c2 = 1", lambda c1, c2, p: (_one(p), _one(p))),
        (
            "inverted",
            "m and v are multiplied by 1 - beta^t instead of divided",
            "c1 = 1 / (1 - beta1^t); c2 = 1 / (1 - beta2^t)",
            lambda c1, c2, p: (1 / c1, 1 / c2),
        ),
        (
            "twice",
            "m and v are divided by 1 - beta^t twice",
            "c1 = (1 - beta1^t)^2; c2 = (1 - beta2^t)^2",
            lambda c1, c2, p: (c1**2, c2**2),
        ),
        (
            "beside root",
            "v is corrected after its root",
            "c1 = 1 - beta1^t; c2 = (1 - beta2^t)^2",
            lambda c1, c2, p: (c1, c2**2),
        ),
        (
            "root of divisor",
            "v is divided by the root of 1 - beta2^t",
            "c1 = 1 - beta1^t; c2 = sqrt(1 - beta2^t)",
            lambda c1, c2, p: (c1, np.sqrt(c2)),
        ),
    ):
        yield Correction(name, "bias-correction", detail, text, paper(divisors))


def _counts() -> Iterator[Correction]:
    def counted(count: Callable[[Moves, np.ndarray], np.ndarray]) -> Callable[[Moves, np.ndarray], Divisors]:
        return lambda moves, t: _paper(moves, count(moves, t))

    def behind(moves: Moves, t: np.ndarray) -> Divisors:
        # At t = 1 nothing is corrected: 1 - beta^0 is 0.
        c1, c2 = _paper(moves, np.maximum(t - 1, 1))
        return np.where(t > 1, c1, 1.0), np.where(t > 1, c2, 1.0)

    text = "c1 = 1 - beta1^n; c2 = 1 - beta2^n; n = "
    yield Correction(
        "stuck", "step-count", "t stays at 1, or the power is missing: the divisors stay 1 - beta",
        "c1 = 1 - beta1; c2 = 1 - beta2", counted(lambda p, t: np.ones(len(p))),
    )  # fmt: skip
    yield Correction(
        "ahead", "step-count", "t is one ahead: it begins at 2", text + "t + 1", counted(lambda p, t: t + 1)
    )
    yield Correction(
        "behind", "step-count", "t is one behind: it begins at 0, where nothing is corrected", text + "t - 1", behind
    )
    yield Correction(
        "behind, unguarded", "step-count", "t is one behind: it begins at 0", text + "t - 1",
        counted(lambda p, t: t - 1),
    )  # fmt: skip
    yield Correction(
        "each parameter", "step-count", "t grows by one for every parameter of a step",
        text + "(t - 1) * parameters + place", counted(lambda p, t: (p.step - 1) * p.of + p.place + 1),
    )  # fmt: skip
    for end in COUNTER_ENDS:
        yield Correction(
            f"until {end}", "step-count", f"t stands still at {end}", text + f"min(t, {end})",
            counted(lambda p, t, end=end: np.minimum(t, end)),  # type: ignore[misc]
        )  # fmt: skip
    yield Correction(
        "asked betas", "hyperparameter-value", "bias correction takes the betas asked for, the moments do not",
        "c1 = 1 - beta1^t; c2 = 1 - beta2^t, beta1 and beta2 as asked", lambda p, t: (1 - p.asked1**t, 1 - p.asked2**t),
    )  # fmt: skip


def _rounded(kept: Format, format: Format) -> Iterator[Correction]:
    name, own = kept.name, kept.precision >= format.precision

    def both(power: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Moves, np.ndarray], Divisors]:
        return lambda moves, t: (1 - power(moves.asked1, t), 1 - power(moves.asked2, t))

    def near(values: np.ndarray) -> np.ndarray:
        return cast(values, kept)

    text = "c1 = 1 - {0}1^t; c2 = 1 - {0}2^t"
    kinds = [
        (
            "betas", "hyperparameter-rounding", f"the betas of the bias correction are kept in {name}",
            f"{name}(beta)", lambda beta, t: near(beta) ** t,
        ),
        (
            "power", "beta-power", f"beta^t is formed in {name}", f"the {name} power of beta",
            lambda beta, t: near(near(beta) ** t),
        ),
        (
            "rounded power", "beta-power", f"beta^t is rounded to {name}", "rounded power of beta",
            lambda beta, t: near(beta**t),
        ),
        (
            "product", "beta-power", f"beta^t is a repeated product in {name}", f"product in {name} of beta",
            lambda beta, t: _product(near(beta), t, kept),
        ),
    ]  # fmt: skip
    # In the 16-bit formats the two first are the same to rounding, and it is the power that is formed there.
    for kind, family, detail, betas, power in kinds if kept.precision > 11 else [*kinds[1:], kinds[0]]:
        # A power of one in a format of few bits: 1 - beta^t is 0 and no weight ever moves.
        yield Correction(f"{kind} in {name}", family, detail, text.format(betas), both(power), own)


def _steps_in_float32(format: Format) -> Iterator[Correction]:
    """lr over c1 as a float32 tensor beside float64 weights, as torch has it where lr is one: c1 is lr over that."""
    single = FORMATS["float32"]
    orders: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "lr / c1": lambda lr, c1: cast(cast(lr, single) / cast(c1, single), single),
        "(1 / c1) * lr": lambda lr, c1: cast(cast(1 / cast(c1, single), single) * cast(lr, single), single),
    }
    formed = next(one for one in _rounded(single, format) if one.family == "beta-power")
    for base, of_powers in ((PAPER, ""), (formed, f", and {formed.detail}")):
        for order, step in orders.items():

            def divisors(moves: Moves, t: np.ndarray, base: Correction = base, step: Any = step) -> Divisors:
                c1, c2 = base.divisors(moves, t)
                # 1 - beta^t is a float32 as well, where beta^t is one.
                c2 = c2 if base is PAPER else cast(c2, single)
                return moves.lr / step(moves.lr, c1), c2

            family = "beta-power" if base is formed else "hyperparameter-rounding"
            detail = f"{order.replace('c1', '(1 - beta1^t)')} is kept in float32{of_powers}"
            text = f"c1 = lr / float32({order}), {base.text}"
            yield Correction(f"{base.name}, {order} in float32", family, detail, text, divisors)


def _product(beta: np.ndarray, t: np.ndarray, format: Format) -> np.ndarray:
    """Repeated products, each rounded to the format; t: whole numbers of at least 0."""
    # beta^t by repeated products rounds t times, a power once.
    made = np.ones(len(t))
    counts = np.maximum(t, 0).astype(np.int64)
    for one in np.unique(beta).tolist():
        there = beta == one
        made[there] = _products(one, 1 << int(counts[there].max()).bit_length(), format)[counts[there]]
    return made


@cache
def _products(beta: float, length: int, format: Format) -> np.ndarray:
    table = [1.0]
    while len(table) < length:
        table.append(float(cast(np.array(table[-1] * beta), format)))
    return np.array(table)
