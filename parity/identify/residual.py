"""What no rule explains: how many elements, which, and how far they are from what the nearest rule gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.identify.moments import Moments
from parity.identify.observation import Probe
from parity.identify.points import Points
from parity.identify.rule import Rule
from parity.identify.search import Expected
from parity.identify.update import Form, Moves, middle
from parity.identify.weights import Weights, decayed, moves_of, with_maximum
from parity.numerics.formats import Format
from parity.numerics.rounding import round_to
from parity.numerics.ulp import ulp_distance

GLANCE = 4096
"""Points on which the nearest of the rules is chosen, where none fits."""


class _Left(NamedTuple):
    """A quantity at points that no rule explains: what was recorded, and what the nearest rule gives."""

    quantity: str
    places: np.ndarray
    actual: np.ndarray
    fitted: np.ndarray


def residual(
    points: Points, found: Moments, moved: Weights, expected: Expected, probes: Sequence[Probe], format: Format
) -> dict[str, Any]:
    """Points that nothing explains, as JSON values.

    elements, differing: numbers of points. Where some differ, by quantity: max_ulp, the greatest distance from what the
    fitted rule gives, rounded once, in units of the last place of the dtype (`NO_DISTANCE` between NaN or inf and
    anything else); where: probe, step, parameter and index of that element. Where no rule fits w, it is held against
    the form of the update that fewest points contradict, with the decay and the maximum that are asked for.
    """
    wrong, largest, where = np.zeros(len(points), bool), {}, {}
    for quantity, places, actual, fitted in _left(points, found, moved, expected, probes, format):
        wrong[places] = True
        far = ulp_distance(round_to(actual, format), round_to(fitted, format))
        worst = int(np.argmax(far))
        largest[quantity], where[quantity] = int(far[worst]), _where(points, int(places[worst]), probes)
    left: dict[str, Any] = {"elements": len(points), "differing": int(wrong.sum())}
    return {**left, "max_ulp": largest, "where": where} if largest else left


def _left(
    points: Points, found: Moments, moved: Weights, expected: Expected, probes: Sequence[Probe], format: Format
) -> Iterator[_Left]:
    for one in (found.m, found.v):
        if one is not None and one.wrong.any():
            places = np.flatnonzero(one.wrong)
            yield _Left(one.name, places, one.average.after[places], one.average.expected[places])
    if not moved.wrong.any():
        return
    decoupled, amsgrad = (np.array([getattr(one.hyper, name) for one in probes]) for name in ("decoupled", "amsgrad"))
    moves = with_maximum(points, moves_of(points, found, found.gradient, format), amsgrad)
    moves = decayed(points, moves, decoupled, format)
    rule, mask = moved.rule, moved.wrong
    if rule is None:
        rule = _nearest(moves, expected, format)
        mask = rule.wrong(moves, format)
    places = np.flatnonzero(mask)
    if len(places):
        some = moves.at(places)
        fitted = some.w0 - middle(some, rule.form, rule.scale(some))
        yield _Left("w", places, points.w1[places], fitted)


def _nearest(moves: Moves, expected: Expected, format: Format) -> Rule:
    """The rule with no departure but its form that fewest points contradict."""
    some = moves.at(np.arange(0, len(moves), max(1, len(moves) // GLANCE)))
    rules = [expected.rule, *(Rule(form, count=expected.count_of(form)) for form in Form)]
    return min(rules, key=lambda rule: int(rule.wrong(some, format).sum()))


def _where(points: Points, place: int, probes: Sequence[Probe]) -> dict[str, Any]:
    probe = probes[int(points.probe[place])]
    parameter, within = list(probe.layout.slices())[int(points.place[place])]
    index = np.unravel_index(int(points.element[place]) - within.start, parameter.shape) if parameter.shape else ()
    return {
        "probe": probe.name,
        "step": int(points.step[place]),
        "parameter": parameter.name,
        "index": [int(one) for one in index],
    }
