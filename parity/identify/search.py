"""The rule with the fewest departures that all points follow, found on few points and proved on all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from parity.identify.update_forms import Correction, Form, Moves, Scale, change, corrections, wrong
from parity.identify.update_rule import Choice, Rule, epsilons, step_sizes
from parity.numerics.formats import Format

MOST_DEPARTURES = 3
SCREEN, ADDED = 64, 64
"""Points of the first sample, and those that a refuted rule adds to it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is claimed of a target. form: epsilon placement; count: "seen", "step", or "" where the form decides."""

    form: Form = Form.OUTSIDE
    count: str = "seen"

    def count_of(self, form: Form) -> str:
        """Expected count of a rule of some form."""
        return self.count or ("step" if form in (Form.HAT, Form.NESTEROV_HAT) else "seen")

    @property
    def rule(self) -> Rule:
        """The rule with no departure."""
        return Rule(self.form, count=self.count_of(self.form))


def search(moves: Moves, expected: Expected, format: Format, most: int = MOST_DEPARTURES) -> Rule | None:
    """The first rule, by number of departures, that no point contradicts; None where every rule is contradicted.

    A rule is held against a small sample; one that passes against all points, some of the points that refute it then
    join the sample.
    """
    if not len(moves):
        return None
    sample = _Sample(moves, _first(moves, expected.rule, format), format)
    for rule in _rules(moves, expected, format, most):
        if sample.refutes(rule):
            continue
        found = rule.read(moves, format)
        bad = np.ones(len(moves), bool) if found is None else found.wrong(moves, format)
        if not bad.any():
            return found
        if found is None:
            # No number fits all points: those at the ends of the others' range are unknown, so any will do.
            sample = sample.grown(np.arange(0, len(moves), max(1, len(moves) // ADDED)))
        else:
            sample = sample.grown(_some(bad, ADDED))
    return None


def _first(moves: Moves, rule: Rule, format: Format) -> np.ndarray:
    """Points that tell most: those that the expected rule does not explain, and others."""
    bad = rule.wrong(moves, format)
    telling = (moves.g != 0) & (moves.w0 == 0)
    kinds = (bad, telling, bad & (moves.step <= 3), telling & (moves.step <= 3), moves.step == moves.step.max())
    return np.unique(np.concatenate([_some(kind, SCREEN // len(kinds)) for kind in kinds]))


def _some(mask: np.ndarray, number: int) -> np.ndarray:
    """At most so many indices of a mask, spread evenly."""
    places = np.flatnonzero(mask)
    return places[np.unique(np.linspace(0, len(places) - 1, number).astype(int))] if len(places) else places


class _Sample:
    """Some of the points, and what the corrections are there, kept for the next rule."""

    def __init__(self, moves: Moves, places: np.ndarray, format: Format) -> None:
        self._all, self._places, self._format = moves, places, format
        self._moves = moves.at(places)
        self._divisors: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._numbers: dict[tuple[str, str], np.ndarray] = {}

    def grown(self, places: np.ndarray) -> _Sample:
        """With more points."""
        return _Sample(self._all, np.union1d(self._places, places), self._format)

    def refutes(self, rule: Rule) -> bool:
        """Whether a point of the sample contradicts the rule, whatever its free number."""
        if rule.free:
            found = rule.read(self._moves, self._format)
            return found is None
        moves, key = self._moves, (rule.correction.name, rule.count)
        t = moves.seen if rule.count == "seen" else moves.step
        with np.errstate(all="ignore"):
            if key not in self._divisors:
                self._divisors[key] = rule.correction.divisors(moves, t)
            c1, c2 = self._divisors[key]
            scale = Scale(c1, c2, self._values("lr", rule.lr), self._values("eps", rule.eps), t)
            return bool(wrong(moves, change(moves, rule.form, scale, self._format), moves.w0, self._format).any())

    def _values(self, name: str, choice: Choice) -> np.ndarray:
        key = name, choice.name
        if key not in self._numbers:
            self._numbers[key] = choice.values(self._moves)
        return self._numbers[key]


def _rules(moves: Moves, expected: Expected, format: Format, most: int) -> Iterator[Rule]:
    """All rules by their number of departures; a number that is read out counts half a departure more."""
    forms = [expected.form, *(one for one in Form if one is not expected.form)]
    counts = ["seen", "step"] if (moves.seen != moves.step).any() else [""]
    offered: list[tuple[float, int, tuple[Form, Correction, str, Choice, Choice]]] = []
    for order, chosen in enumerate(
        product(forms, list(corrections(format)), counts, list(step_sizes(format)), list(epsilons(format)))
    ):
        form, correction, count, lr, eps = chosen
        if lr.free and eps.free:
            continue
        cost = (
            (form is not expected.form)
            + bool(correction.family)
            + (count not in ("", expected.count_of(form)))
            + bool(lr.family)
            + bool(eps.family)
            + 0.5 * (lr.free or eps.free)
        )
        # Of three departures at once, two have to be roundings of numbers: Keras in float64 against the paper.
        roundings = sum(one.family in ("hyperparameter-rounding", "beta-power") for one in (correction, lr, eps))
        if cost <= most and (cost <= 2 or roundings >= cost - 1):
            offered.append((cost, order, chosen))
    for _, _, (form, correction, count, lr, eps) in sorted(offered, key=lambda one: one[:2]):
        yield replace(expected.rule, form=form, correction=correction, count=count or expected.count_of(form), lr=lr,
                      eps=eps)  # fmt: skip
