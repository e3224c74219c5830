"""The update of the weights in every form, with every bias correction, and how far rounding may move it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from parity.identify.points import Reading, greatest, intersection, roundoff, smallest
from parity.numerics.formats import FORMATS, Format

ROUNDINGS = 6.0
"""Half units of numerator and of denominator each: lr, its divisor, their quotient, product, one to spare, sqrt."""


POWER_ERROR = 2.0**-52
"""One place of a power of beta in double precision."""


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
    rounding. beta1, beta2: in force in the moments; asked1, asked2: as asked; product1, product2: of all that
    were asked until then.
    """

    w0: np.ndarray
    w1: np.ndarray
    w_error: np.ndarray
    m: np.ndarray
    m_error: np.ndarray
    v: np.ndarray
    v_error: np.ndarray
    g: np.ndarray
    probe: np.ndarray
    lr: np.ndarray
    first_lr: np.ndarray
    last_lr: np.ndarray
    next_lr: np.ndarray
    eps: np.ndarray
    decay: np.ndarray
    beta1: np.ndarray
    beta2: np.ndarray
    asked1: np.ndarray
    asked2: np.ndarray
    product1: np.ndarray
    product2: np.ndarray
    step: np.ndarray
    seen: np.ndarray
    rows: np.ndarray
    tensor: np.ndarray
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
        first, second = _ahead(moves, scale.c1, scale.t)
        m = first + second
        m_error = m_error + 4 * u * (np.abs(first) + np.abs(second))
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


def nesterov_moment(moves: Moves, t: np.ndarray) -> np.ndarray:
    """What NAdam takes for m, before it is divided by 1 - beta1^t."""
    first, second = _ahead(moves, 1 - moves.beta1**t, t)
    return np.asarray(first + second)


def _ahead(moves: Moves, c1: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = moves.beta1 * moves.m / (1 - moves.beta1 ** (t + 1)) * c1
    return np.asarray(first), np.asarray((1 - moves.beta1) * moves.g)


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
