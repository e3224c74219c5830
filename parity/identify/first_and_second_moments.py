"""Both moments of a target: the gradient that each averages, with which factors, and what departs from the asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.identify.answer import Finding
from parity.identify.exponential_average import Average
from parity.identify.fresh_gradient import (
    GIVEN,
    Coupled,
    Fresh,
    coupled,
    gradients,
    largest,
    nearest,
    resting,
    scaled,
    squares,
)
from parity.identify.moment_departures import Moment, groups_of, kept, moment, tensors_of
from parity.identify.points import Points, tensors_in_words
from parity.numerics.formats import Format

_DECAY = " weight_decay * w is added"

BEFORE_DECAY = f", before{_DECAY}"
"""How the detail of a gradient ends that is clipped or scaled before decay is added to it."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What was found about m and v, for all points in which there is a gradient; arrays are (points,).

    m, v: None where hidden. m_rule, v_rule: what they average. gradient: as the moments see it. couplings: by probe,
    the k of ``g + k * w`` and what it is, where decay is asked for and m is shown. beta1, beta2: in force.
    """

    m: Moment | None
    v: Moment | None
    m_rule: str
    v_rule: str
    gradient: np.ndarray
    couplings: dict[int, tuple[float, str]]
    beta1: np.ndarray
    beta2: np.ndarray

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Departures of both; one that both share stands only once."""
        found = list(self.m.findings) if self.m is not None else []
        for finding in self.v.findings if self.v is not None else ():
            for index, other in enumerate(found):
                if (shared := _shared(other, finding)) is not None:
                    found[index] = shared
                    break
            else:
                found.append(finding)
        return tuple(found)


@dataclass(slots=True)
class _Gradient:
    """The gradient of all points as it is pieced together from probes: values, and the size of their terms."""

    values: np.ndarray
    size: np.ndarray


def moments(points: Points, format: Format) -> Moments:
    """The moments of points that have a gradient; m1 and v1 of them are NaN where hidden."""
    gradient = _Gradient(points.g.copy(), np.abs(points.g))
    raw = _Gradient(points.g.copy(), np.abs(points.g))
    couplings: dict[int, tuple[float, str]] = {}
    m, fresh = None, GIVEN
    shows_m = not np.isnan(points.m1).all()
    if shows_m:
        m, fresh = _first(points, gradient, raw, couplings, format)
    v, v_rule = None, "g^2"
    if not np.isnan(points.v1).all():
        v, v_rule = _second(points, gradient, raw, fresh, shows_m, format)
    return Moments(
        m, v, fresh.rule, v_rule, gradient.values, couplings,
        points.beta1 if m is None else m.average.b, points.beta2 if v is None else v.average.b,
    )  # fmt: skip


def _first(
    points: Points, gradient: _Gradient, raw: _Gradient, couplings: dict[int, tuple[float, str]], format: Format
) -> tuple[Moment, Fresh]:
    """m at all points, and the gradient it averages; what decay adds to it goes into `gradient` and `raw`."""
    plain = points.decay == 0
    # Where every probe asks for decay, m is taken for the average that was asked, if that explains it.
    base = plain if plain.any() or _is_asked(points, format) else np.ones(len(points), bool)
    some = points.at(base)
    found, fresh = _average_of(some, format)
    b, d = _spread(points, base, found.average)
    gradient.values = fresh.of(points)
    gradient.size = np.abs(gradient.values)
    used, slack, wrong = points.m1.copy(), np.zeros(len(points)), np.zeros(len(points), bool)
    used[base], slack[base], wrong[base] = found.used, found.slack, found.wrong
    families = frozenset(one.family for one in found.findings)
    if found.explained:
        couplings |= dict.fromkeys(np.unique(points.probe[base & ~plain]).tolist(), (0.0, "0"))
    orders, some_decay = set(), None
    for probe in np.unique(points.probe[~base]).tolist():
        whole = points.probe == probe
        one = coupled(points.at(whole), fresh, b[whole], d[whole], families, format)
        parts = [(whole, one)] if one is not None else []
        if one is None:
            parts = _by_tensor(points, whole, fresh, b, d, families, format)
            some_decay = some_decay or tensors_that_decay(
                points, [(there, part.k / points.decay[there][0]) for there, part in parts]
            )
        if not parts:
            one = nearest(points.at(whole), fresh, b[whole], d[whole], format)
            wrong[whole] = one.moment.wrong
            parts = [(whole, one)]
        for there, part in parts:
            if probe not in couplings or part.k:
                couplings[probe] = part.k, part.what
            orders |= {part.order} - {""}
            gradient.values[there], gradient.size[there] = part.gradient, part.size
            used[there], slack[there] = part.moment.used, part.moment.slack
            if part.k:
                with np.errstate(all="ignore"):
                    # Only k * w: `raw` is the gradient before it is clipped or scaled.
                    raw.values[there] += part.k * points.w0[there]
                    raw.size[there] = np.abs(points.g[there]) + np.abs(part.k * points.w0[there])
    average = Average(points.m0, points.m1, gradient.values, b, d, format, gradient.size)
    findings = list(found.findings)
    if len(orders) == 1 and fresh.finding in findings:
        clip = findings.index(fresh.finding)
        detail = f"{findings[clip].detail}, {orders.pop()}{_DECAY}"
        findings[clip] = replace(findings[clip], detail=detail)
    findings += [some_decay] if some_decay is not None else []
    return replace(found, average=average, used=used, slack=slack, wrong=wrong, findings=tuple(findings)), fresh


def _by_tensor(
    points: Points,
    whole: np.ndarray,
    fresh: Fresh,
    b: np.ndarray,
    d: np.ndarray,
    families: frozenset[str],
    format: Format,
) -> list[tuple[np.ndarray, Coupled]]:
    """As `coupled`, for every tensor of a probe on its own: masks and what was found; none where one has no number."""
    parts = []
    for name in np.unique(points.tensor[whole]).tolist():
        there = whole & (points.tensor == name)
        one = coupled(points.at(there), fresh, b[there], d[there], families, format)
        if one is None:
            return []
        parts.append((there, one))
    return parts


def tensors_that_decay(points: Points, shares: list[tuple[np.ndarray, float]]) -> Finding | None:
    """Which tensors decay otherwise than asked. shares: mask of a tensor, and its decay as a factor of that asked."""
    told = []
    for factor in sorted({float(f"{share:.6g}") for _, share in shares} - {1.0}):
        chosen = np.any([there for there, share in shares if float(f"{share:.6g}") == factor], axis=0)
        others = np.any([there for there, _ in shares], axis=0) & ~chosen
        words = tensors_in_words(points.at(chosen), points.at(others))
        told.append(
            f"{words} do not decay" if factor == 0 else f"the decay of {words} is {factor:g} times what was asked"
        )
    return Finding("weight-decay", "; ".join(told), {}) if told else None


def _is_asked(points: Points, format: Format) -> bool:
    """Whether m of every probe is the average that was asked, weights in the gradient or not."""
    probes = [points.at(points.probe == probe) for probe in np.unique(points.probe).tolist()]
    return all(coupled(one, GIVEN, one.beta1, 1 - one.beta1, frozenset(), format) is not None for one in probes)


def _average_of(points: Points, format: Format) -> tuple[Moment, Fresh]:
    """m, and the gradient it averages: the first kind that explains every point, else the one given."""
    average = Average(points.m0, points.m1, points.g, points.beta1, 1 - points.beta1, format)
    for fresh in _gradients_of(average, points):
        found = moment("m", points, replace(average, fresh=fresh.of(points)))
        if not found.explained:
            continue
        if found.scale != 1:
            fresh = scaled(found.scale)
            found = moment("m", points, replace(average, fresh=fresh.of(points)))
        if fresh.finding is not None:
            found = replace(found, findings=(fresh.finding, *found.findings))
        return found, fresh
    return moment("m", points, average), GIVEN


def _gradients_of(average: Average, points: Points) -> Iterator[Fresh]:
    """As `gradients`, with the factors that are asked, then with those that are read where the gradient is zero."""
    yield GIVEN
    loose = kept(Moment("m", average, (), average.wrong, average.after, np.zeros(len(points)))).average
    tried = [loose]
    rate = loose.decay()
    if not rate.empty:
        b = np.full(len(points), rate.named(np.unique(points.beta1).tolist()))
        tried += [replace(loose, b=b, d=d) for d in (1 - b, np.ones(len(points)))]
    told = {GIVEN.rule}
    for one in tried:
        for fresh in gradients(points, one, 1):
            if fresh.rule not in told:
                told.add(fresh.rule)
                yield fresh


def _second(
    points: Points, gradient: _Gradient, raw: _Gradient, fresh: Fresh, shows_m: bool, format: Format
) -> tuple[Moment, str]:
    """v, and what it averages."""

    def average(of: _Gradient) -> Average:
        with np.errstate(all="ignore"):
            # The sum is squared, not the terms: g + k * w is rounded before it is squared.
            squared, size = of.values**2, of.size**2
        return Average(points.v0, points.v1, squared, points.beta2, 1 - points.beta2, format, size)

    some = resting(points, gradient.values)
    found = moment("v", some, average(gradient))
    if found.explained:
        return found, "g^2" if fresh.rule == "g" else f"({fresh.rule})^2"
    plain = _Gradient(points.g, np.abs(points.g))
    for other in (raw, plain):
        one = moment("v", some, average(other))
        if one.explained:
            return one, "g^2"
    if largest(average(raw)):
        finding = Finding("unexplained", "v is max(beta2 * v, g^2), as in Adamax", {})
        return replace(found, findings=(finding,), wrong=np.zeros_like(found.wrong)), "max"
    for kind in gradients(points, average(raw), 2):
        one = moment("v", some, replace(average(plain), fresh=kind.of(points) ** 2))
        if kind.finding is not None and one.explained:
            return replace(one, findings=(kind.finding, *one.findings)), f"({kind.rule})^2"
    for of in (raw, gradient):
        for values, terms, rule, detail in squares(of.values, of.size, points, shows_m):
            one = moment("v", some, replace(average(of), fresh=values, scale=terms))
            if one.explained:
                return replace(one, findings=(Finding("unexplained", detail, {}), *one.findings)), rule
    return found, "g^2"


def _spread(points: Points, base: np.ndarray, average: Average) -> tuple[np.ndarray, np.ndarray]:
    """Factors of all points from those of some for which the same betas are asked, of the same tensor where it has."""
    b, d = points.beta1.copy(), 1 - points.beta1
    for groups in (groups_of(points), tensors_of(points)):
        read, where = np.unique(groups[base], return_index=True)
        of_groups = np.full((2, int(groups.max(initial=0)) + 1), np.nan)
        of_groups[:, read] = average.b[where], average.d[where]
        there = np.isin(groups, read)
        b[there], d[there] = of_groups[:, groups[there]]
    return b, d


def _shared(first: Finding, second: Finding) -> Finding | None:
    """The same departure of m and of v as one; None where they are two."""
    if first.family != second.family:
        return None
    if first.detail == second.detail:
        return first
    words, others = first.detail.split(), second.detail.split()
    if len(words) == len(others) and all(a == b or (a, b) == ("m", "v") for a, b in zip(words, others, strict=True)):
        detail = " ".join("m and v" if a != b else a for a, b in zip(words, others, strict=True))
        return replace(first, detail=detail.replace("m and v is", "m and v are").replace("m and v was", "m and v were"))
    return None
