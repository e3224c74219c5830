"""How far apart two placements of epsilon carry one update, over all sizes of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from parity.adam.convention import Epsilon
from parity.adam.epsilon import root_correction


@dataclass(frozen=True, slots=True)
class Curve:
    """An update in units of lr against x = sqrt(v_hat), for m_hat = sqrt(v_hat): a gradient that is constant.

    ``x / (x + scale)``, or where `inside` ``x / sqrt(x^2 + scale^2)``. For other gradients the update,
    and every difference of two, is |m_hat| / sqrt(v_hat) times as large. scale: units of the gradient.
    """

    scale: float
    inside: bool

    def at(self, x: float) -> float:
        """The update at x."""
        return x / (math.hypot(x, self.scale) if self.inside else x + self.scale)


@dataclass(frozen=True, slots=True)
class Lobe:
    """A range of x, from `low` to `high`, in which one curve stays above the other.

    Their difference rises up to x = `peak`, where it is `difference` (units of lr), and falls behind
    it. low, high: where it is 0; 0 and inf at the ends.
    """

    low: float
    peak: float
    high: float
    difference: float


def curve(eps: float, epsilon: Epsilon, beta2: float, step: int) -> Curve:
    """The update that a convention makes with `eps` at a 1-based step."""
    match epsilon:
        case Epsilon.OUTSIDE:
            return Curve(eps, inside=False)
        case Epsilon.HAT:
            return Curve(eps / root_correction(beta2, step), inside=False)
        case Epsilon.INSIDE:
            return Curve(math.sqrt(eps), inside=True)


def lobes(one: Curve, other: Curve) -> tuple[Lobe, ...]:
    """Where two curves differ, by rising x; nothing where they are the same.

    Two of x / (x + a) differ most at x = sqrt(a b), by (sqrt(b) - sqrt(a)) / (sqrt(b) + sqrt(a)).
    One of them against x / sqrt(x^2 + p^2): see `_against_inside`. Two of the latter are not asked for.
    """
    if one == other:
        return ()
    if not one.inside and not other.inside:
        a, b = sorted((math.sqrt(one.scale), math.sqrt(other.scale)))
        return (Lobe(0.0, a * b, math.inf, (b - a) / (b + a)),)
    if one.inside and other.inside:
        raise ValueError("two curves of INSIDE with different eps")
    plain, inside = (other, one) if one.inside else (one, other)
    p = inside.scale
    return tuple(
        Lobe(lobe.low * p, lobe.peak * p, lobe.high * p, lobe.difference) for lobe in _against_inside(plain.scale / p)
    )


def ranges_above(one: Curve, other: Curve, threshold: float) -> tuple[tuple[float, float], ...]:
    """The ranges of x in which two curves differ by more than `threshold` (units of lr), by rising x."""

    def above(x: float) -> bool:
        return abs(one.at(x) - other.at(x)) > threshold

    found = []
    for lobe in lobes(one, other):
        if lobe.difference > threshold:
            low = lobe.low or _first(lambda x: not above(x), lobe.peak, 0.5)
            high = lobe.high if math.isfinite(lobe.high) else _first(lambda x: not above(x), lobe.peak, 2.0)
            found.append((border(above, lobe.peak, low), border(above, lobe.peak, high)))
    return tuple(found)


def extremes(plain: float) -> tuple[float, float]:
    """How far x / sqrt(x^2 + 1) lies below x / (x + plain) at most, and how far above it."""
    *below, above = _against_inside(plain)
    return (below[0].difference if below else 0.0), above.difference


def _against_inside(k: float) -> tuple[Lobe, ...]:
    """The lobes of f(y) = y / sqrt(y^2 + 1) - y / (y + k).

    f = 0 where sqrt(y^2 + 1) = y + k, at y0 = (1 - k^2) / (2 k): below y0, which is there for k < 1, f
    is negative, above it positive. f' > 0 where h = (y + k)^2 / (1 + y^2)^(3/2) > k, and h rises up to
    the positive root of y^2 + 3 k y - 2 and falls behind it, so each lobe has one peak, on its side of it.
    """
    zero = max(0.0, (1 - k) * (1 + k) / (2 * k))
    turn = 4 / (3 * k + math.sqrt(9 * k * k + 8))

    def rises(y: float) -> bool:
        return 2 * math.log(y + k) > 1.5 * math.log1p(y * y) + math.log(k)

    def size(y: float) -> float:
        root = math.hypot(y, 1.0)
        return abs(y * (k - 1 / (y + root)) / (root * (y + k)))

    upper = border(rises, turn, _first(lambda y: not rises(y), turn, 2.0))
    found = [Lobe(zero, upper, math.inf, size(upper))]
    if k < 1:
        lower = border(rises, turn, _first(lambda y: not rises(y), turn, 0.5))
        found.insert(0, Lobe(0.0, lower, zero, size(lower)))
    return tuple(found)


def _first(holds: Callable[[float], bool], x: float, factor: float) -> float:
    """The first of x, x * factor, x * factor^2, ... of which it holds."""
    while not holds(x):
        x *= factor
    return x


def border(holds: Callable[[float], bool], inner: float, outer: float) -> float:
    """The last number of which it holds, going from `inner`, of which it does, to `outer`, of which it does not."""
    while (middle := (inner + outer) / 2) not in (inner, outer):
        inner, outer = (middle, outer) if holds(middle) else (inner, middle)
    return inner
