"""What the moments average: the gradient as given, clipped, scaled, late, with weights added, or something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from parity.identify.answer import Finding
from parity.identify.average import Average
from parity.identify.moment import Moment, moment
from parity.identify.points import Points
from parity.identify.reading import Reading, quotient
from parity.numerics.formats import Format


class Fresh(NamedTuple):
    """A gradient as a moment may see it. of: from points; finding: what that departs from; rule: formula."""

    of: Callable[[Points], np.ndarray]
    finding: Finding | None = None
    rule: str = "g"


GIVEN = Fresh(lambda points: points.g)


def gradients(points: Points, average: Average, power: int) -> Iterator[Fresh]:
    """Gradients as a moment may see them, the one given first. power: 2 where their squares are averaged."""
    yield GIVEN
    wrong = average.wrong
    with np.errstate(all="ignore"):
        fresh = average.after - average.b * average.before
        shares = {
            "": np.sign(points.g),
            "of a parameter": np.where(points.norm > 0, points.g / points.norm, 0.0),
            "of all parameters": np.where(points.norm_all > 0, points.g / points.norm_all, 0.0),
        }
        for which, share in shares.items():
            bound = quotient(fresh[wrong], (average.d * share**power)[wrong], average.error[wrong])
            if not bound.empty and bound.low > 0:
                limit = Reading(bound.low ** (1 / power), bound.high ** (1 / power)).named()
                yield _clipped_norm(limit, which) if which else _clipped(limit)
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


def _clipped_norm(limit: float, which: str) -> Fresh:
    def clipped(points: Points) -> np.ndarray:
        norm = points.norm if which == "of a parameter" else points.norm_all
        with np.errstate(all="ignore"):
            return np.asarray(points.g * np.where(norm > limit, limit / norm, 1.0))

    return Fresh(
        clipped,
        Finding("gradient-scale", f"the norm of the gradient {which} is clipped to {limit:g}", {"limit": limit}),
        f"g * min(1, {limit:g} / norm of the gradient {which})",
    )


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

    moment: m of the probe with it.
    """

    k: float
    what: str
    gradient: np.ndarray
    size: np.ndarray
    moment: Moment


def coupled(points: Points, fresh: Fresh, b: np.ndarray, d: np.ndarray, family: str, format: Format) -> Coupled | None:
    """How weights go into the gradient of one probe with decay; None where no number accounts for every point.

    b, d: factors in force; family: of the departure that m has in other probes, "" if none.
    """
    decay = float(points.decay[0])
    for k, what in _usual(points):
        for one in _couplings(points, fresh, b, d, k, what, format):
            if one.moment.explained and all(finding.family == family for finding in one.moment.findings):
                return one
    average = Average(
        points.m0, points.m1, fresh.of(points), b, d, format, np.abs(points.g) + np.abs(decay * points.w0)
    )
    with np.errstate(all="ignore"):
        found = quotient(average.after - average.expected, d * points.w0, average.error)
    if found.empty:
        return None
    k = found.named()
    one = next(_couplings(points, fresh, b, d, k, f"{k:g}", format))
    return one if one.moment.explained and not one.moment.findings else None


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
        given = replace(points, g=points.g + added)
        orders = (
            (fresh.of(points) + added, fresh.of(given))
            if k and "limit" in (fresh.finding.evidence if fresh.finding else {})
            else (fresh.of(points) + added,)
        )
        for gradient in orders:
            size = np.abs(gradient) + 2 * np.abs(added)
            average = Average(points.m0, points.m1, gradient, b, d, format, size)
            yield Coupled(k, what, gradient, size, moment("m", resting(points, gradient), average))


def resting(points: Points, gradient: np.ndarray) -> Points:
    """The points, rows counting as empty only where weights do not make up a gradient."""
    return replace(
        points,
        empty=points.empty & ((gradient == 0) | np.isnan(gradient)) & ((points.axes < 2) | (gradient == points.g)),
    )
