"""The gradient that a moment averages: as given, clipped, scaled, late, or with weight decay in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from parity.identify.answer import Finding
from parity.identify.exponential_average import Average
from parity.identify.moment_departures import Moment, moment
from parity.identify.points import Points, Reading, usual_quotient
from parity.numerics.formats import Format


class Fresh(NamedTuple):
    """A gradient as a moment may see it. of: from points; finding: what that departs from; rule: formula."""

    of: Callable[[Points], np.ndarray]
    finding: Finding | None = None
    rule: str = "g"


BESIDE_NORM = 1e-6
"""What torch adds to a norm before it divides by it."""

GIVEN = Fresh(lambda points: points.g)


def gradients(points: Points, average: Average, power: int) -> Iterator[Fresh]:
    """Gradients as a moment may see them, the one given first. power: 2 where their squares are averaged."""
    yield GIVEN
    wrong = average.wrong
    with np.errstate(all="ignore"):
        fresh = average.after - average.b * average.before
        shares = {
            ("", 0.0): np.sign(points.g),
            **{
                (which, added): np.where(norm > 0, points.g / (norm + added), 0.0)
                for which, norm in (("of a parameter", points.norm), ("of all parameters", points.norm_all))
                for added in (0.0, BESIDE_NORM)
            },
        }
        for (which, added), share in shares.items():
            bound = usual_quotient(fresh[wrong], (average.d * share**power)[wrong], average.error[wrong])
            if not bound.empty and bound.low > 0:
                # v averages squares: what bounds it is the square of the limit.
                limit = Reading(bound.low ** (1 / power), bound.high ** (1 / power)).named()
                yield _clipped_norm(limit, which, added) if which else _clipped(limit)
    yield Fresh(
        lambda p: p.late, Finding("unexplained", "the gradient of the step before is used", {}), "g of the step before"
    )


def scaled(scale: float) -> Fresh:
    """The gradient times a number."""
    return Fresh(
        lambda p: scale * p.g,
        Finding("gradient-scale", f"gradients are {scale:g} times as large as given", {"scale": scale}),
        f"{scale:g} * g",
    )


def _clipped(limit: float) -> Fresh:
    return Fresh(
        lambda p: np.clip(p.g, -limit, limit),
        Finding("gradient-scale", f"gradients are clipped to [-{limit:g}, {limit:g}]", {"limit": limit}),
        f"clip(g, -{limit:g}, {limit:g})",
    )


def _clipped_norm(limit: float, which: str, added: float) -> Fresh:
    def clipped(points: Points) -> np.ndarray:
        norm = points.norm if which == "of a parameter" else points.norm_all
        with np.errstate(all="ignore"):
            return np.asarray(points.g * np.where(norm + added > limit, limit / (norm + added), 1.0))

    detail = f"the norm of the gradient {which} is clipped to {limit:g}" + (
        f", {added:g} being added to it" if added else ""
    )
    return Fresh(
        clipped,
        Finding("gradient-scale", detail, {"limit": limit}),
        f"g * min(1, {limit:g} / {f'({added:g} + ' * bool(added)}norm of the gradient {which}{')' * bool(added)})",
    )


def with_gradient(points: Points, g: np.ndarray) -> Points:
    """The points with other gradients, and the norms of these."""
    steps = points.probe * (points.step.max() + 1) + points.step
    tensors = steps * (points.place.max() + 1) + points.place

    def norms(keys: np.ndarray) -> np.ndarray:
        which = np.unique(keys, return_inverse=True)[1].reshape(-1)
        return np.asarray(np.sqrt(np.bincount(which, g * g))[which])

    return replace(points, g=g, norm=norms(tensors), norm_all=norms(steps))


def squares(
    g: np.ndarray, terms: np.ndarray, points: Points, m_known: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, str, str]]:
    """What v may average in the place of g^2: values, size of their terms, rule, words. terms: those of g."""
    yield np.abs(g), terms, "|g|", "v averages |g|, not its square"
    if m_known:
        yield points.m1**2, points.m1**2, "m^2", "v averages the square of m"
        for m, which in ((points.m0, "before the step"), (points.m1, "after the step")):
            size = (terms + np.abs(m)) ** 2
            yield (g - m) ** 2, size, "(g - m)^2", f"v averages the square of g - m, as AdaBelief does, with m {which}"


def largest(average: Average) -> bool:
    """Whether the moment is ``max(b * before, fresh)``."""
    with np.errstate(all="ignore"):
        expected = np.maximum(average.b * average.before, average.fresh)
        # Here the rounding of the square counts in full.
        near = np.abs(average.after - expected) <= replace(average, d=np.ones_like(average.d)).error
    return bool(near[average.judged].all())


class Coupled(NamedTuple):
    """Weights in the gradient of a probe: ``g + k * w``. what: k in words; gradient, size: (points,), terms summed.

    moment: m of the probe with it. order: whether the gradient is clipped "before" or "after" they are added, empty
    where that is one.
    """

    k: float
    what: str
    gradient: np.ndarray
    size: np.ndarray
    moment: Moment
    order: str = ""


def coupled(
    points: Points, fresh: Fresh, b: np.ndarray, d: np.ndarray, families: frozenset[str], format: Format
) -> Coupled | None:
    """How weights go into the gradient of one probe with decay; None where no number accounts for every point.

    b, d: factors in force; families: of the departures that m has in other probes.
    """
    decay = float(points.decay[0])
    for k, what in _usual(points):
        fits = [
            one
            for one in _couplings(points, fresh, b, d, k, what, format)
            if one.moment.explained and {finding.family for finding in one.moment.findings} <= families
        ]
        if fits:
            return fits[0] if len(fits) == 1 else fits[0]._replace(order="")
    average = Average(
        points.m0, points.m1, fresh.of(points), b, d, format, np.abs(points.g) + np.abs(decay * points.w0)
    )
    with np.errstate(all="ignore"):
        found = usual_quotient(average.after - average.expected, d * points.w0, average.error)
    if found.empty:
        return None
    k = found.named()
    one = next(_couplings(points, fresh, b, d, k, f"{k:g}", format))
    return one if one.moment.explained and {finding.family for finding in one.moment.findings} <= families else None


def nearest(points: Points, fresh: Fresh, b: np.ndarray, d: np.ndarray, format: Format) -> Coupled:
    """As `coupled` where that is None: the usual number that fewest points contradict, these being left wrong."""
    found = []
    for k, what in _usual(points):
        for one in _couplings(points, fresh, b, d, k, what, format):
            average = Average(points.m0, points.m1, one.gradient, b, d, format, one.size)
            plain = replace(one.moment, average=average, findings=(), wrong=average.wrong, used=points.m1)
            found.append(one._replace(moment=replace(plain, slack=np.zeros(len(points)))))
    return min(found, key=lambda one: int(one.moment.wrong.sum()))


def _usual(points: Points) -> tuple[tuple[float, str], ...]:
    decay, lr = float(points.decay[0]), float(points.lr[0])
    return (decay, "weight_decay"), (0.0, "0"), (-decay, "-weight_decay"), (lr * decay, "lr * weight_decay")


def _couplings(
    points: Points, fresh: Fresh, b: np.ndarray, d: np.ndarray, k: float, what: str, format: Format
) -> Iterator[Coupled]:
    """Weights added to the gradient as m sees it, and to the one given, before it is changed."""
    with np.errstate(all="ignore"):
        added = k * points.w0 if k else np.zeros(len(points))
        limited = bool(k) and "limit" in (fresh.finding.evidence if fresh.finding else {})
        orders = {"before" if limited else "": fresh.of(points) + added}
        if limited:
            orders["after"] = fresh.of(with_gradient(points, points.g + added))
        for order, gradient in orders.items():
            # A norm, its quotient and their product are rounded before the gradient is squared.
            size = (1 + (order == "after")) * np.abs(gradient) + 2 * np.abs(added)
            average = Average(points.m0, points.m1, gradient, b, d, format, size)
            yield Coupled(k, what, gradient, size, moment("m", resting(points, gradient), average), order)


def resting(points: Points, gradient: np.ndarray) -> Points:
    """The points, rows counting as empty only where weights do not make up a gradient."""
    return replace(
        points,
        empty=points.empty & ((gradient == 0) | np.isnan(gradient)) & ((points.axes < 2) | (gradient == points.g)),
    )
