"""The rule of the update: step size and eps are read at every step, put into words, and held against all points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from parity.identify.bias_correction import PAPER, Correction, Count, Law, Power, counts, laws, powers
from parity.identify.points import Reading
from parity.identify.step_reading import KINDS, Kind, Readings, readings
from parity.identify.update_forms import Form, Moves
from parity.identify.update_rule import Choice, Rule, counted, epsilons, step_sizes
from parity.numerics.formats import Format

SCREEN, ADDED = 64, 64
"""Points of the first sample, and those that a refuted rule adds to it."""

STEPS = 8
"""Of every probe, those whose readings are put into words."""

GLANCE = 12
"""Of all of them, those for which most words are wrong already."""

OFFERED = 400
"""Rules, the one with the fewest departures first, that are held against points."""

FITTING, ON_LINE, KNOWN = 0.5, 0.9, 0.3
"""Share of the steps that have to be straight lines; of the points of a step that lie on one; relative error of its
step size at which nothing is known of it."""

CLOSE = 0.2
"""Of the share of steps: kinds of forms that are as straight as the straightest."""

BASES = ("seen", "step", "rows")


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


class _Steps(NamedTuple):
    """What accounts for the step sizes that were read."""

    correction: Correction
    base: str
    lr: Choice

    @property
    def least(self) -> float:
        """What every rule with them costs."""
        return self.correction.cost + self.lr.cost


def search(moves: Moves, expected: Expected, format: Format) -> Rule | None:
    """The rule with the fewest departures that no point contradicts; None where every rule is contradicted.

    Rules with one departure come first, then those that step sizes and eps as read at every step allow, then those
    with another form beside one departure. Each is held against a small sample; one that passes against all points,
    some of those that refute it then join the sample.
    """
    if not len(moves):
        return None
    sample = _Sample(moves, _first(moves, expected.rule, format), format)
    read, formed = islice(_rules(moves, expected, format), OFFERED), powers(moves, format)
    for rule in chain(_single(expected, formed, format), read, _of_other_forms(expected, formed, format)):
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
    """Some of the points."""

    def __init__(self, moves: Moves, places: np.ndarray, format: Format) -> None:
        self._all, self._places, self._format = moves, places, format
        self._moves = moves.at(places)

    def grown(self, places: np.ndarray) -> _Sample:
        """With more points."""
        return _Sample(self._all, np.union1d(self._places, places), self._format)

    def refutes(self, rule: Rule) -> bool:
        """Whether a point of the sample contradicts the rule, whatever its free numbers."""
        if rule.free:
            return rule.read(self._moves, self._format) is None
        return bool(rule.wrong(self._moves, self._format).any())


def _single(expected: Expected, formed: Sequence[Power], format: Format) -> Iterator[Rule]:
    """The rule expected, and those with one departure.

    In few bits a step is no sharp line: what is read of it may exclude the rule in force.
    """
    rule = expected.rule
    found = [replace(rule, eps=eps) for eps in epsilons(format)]
    found += [replace(rule, form=form, count=expected.count_of(form)) for form in Form]
    found += [replace(rule, correction=replace(PAPER, law=law)) for law in laws()]
    found += [replace(rule, lr=lr) for lr in step_sizes(format)]
    found += [replace(rule, correction=replace(PAPER, power=power)) for power in formed]
    found += [replace(rule, correction=replace(PAPER, count=count)) for count in counts()]
    found += [replace(rule, count=count) for count in BASES]
    yield rule

    def cost(one: Rule) -> float:
        apart = (one.form is not rule.form) + (one.count != expected.count_of(one.form))
        return one.correction.cost + one.lr.cost + one.eps.cost + apart

    yield from sorted((one for one in found if one != rule), key=cost)


def _of_other_forms(expected: Expected, formed: Sequence[Power], format: Format) -> Iterator[Rule]:
    """Rules with one departure beside the form: one that is no straight line is read with the plain divisors only."""
    for form in Form:
        if form is not expected.form:
            yield from _single(replace(expected, form=form), formed, format)


def _rules(moves: Moves, expected: Expected, format: Format) -> Iterator[Rule]:
    """Rules that agree with what was read, by their number of departures."""
    moves = moves.at(_of_some_steps(moves))
    # Where there is one parameter, a step size of its own is that of all.
    of_each = [moves.seen * (moves.place.max() + 1) + moves.place] if (moves.place != moves.place[0]).any() else []
    for apart in (moves.seen, *of_each):
        straight = {kind: readings(moves, kind, format, apart) for kind in KINDS}
        fits = {kind: float(np.mean(read.fit > ON_LINE)) if len(read.at) else 0.0 for kind, read in straight.items()}
        offered: list[_Offered] = []
        for kind, read in straight.items():
            if fits[kind] < max(FITTING, max(fits.values()) - CLOSE):
                continue
            read = read.at_cells(np.flatnonzero((read.fit > ON_LINE) & (read.size_error < KNOWN)))
            if not len(read.at):
                continue
            asked = moves.at(read.at)
            for steps in _step_sizes(read, asked, kind, expected, format):
                offered.append(_Offered(steps, read, asked, kind))
        yield from _cheapest(offered, expected, format)


class _Offered(NamedTuple):
    """Step sizes that were read, of a kind of forms."""

    steps: _Steps
    read: Readings
    asked: Moves
    kind: Kind


def _cheapest(offered: Sequence[_Offered], expected: Expected, format: Format) -> Iterator[Rule]:
    """The rules of all of them by their cost, of equal ones in their order; who takes few of many has few made."""
    waiting: list[tuple[float, int, int, Rule]] = []
    # eps is the same whatever lr is, and whatever m is divided by.
    known: dict[tuple[Kind, str, str, str, float], list[tuple[Form, Choice]]] = {}
    for number, one in sorted(enumerate(offered), key=lambda each: each[1].steps.least):
        least = one.steps.least
        while waiting and waiting[0][0] < least:
            yield heappop(waiting)[-1]
        correction, base, kind = one.steps.correction, one.steps.base, one.kind
        divides = kind, base, correction.count.name, correction.power.name, correction.law.q
        if divides not in known:
            known[divides] = list(_epsilons(one, format))
        for place, (form, eps) in enumerate(known[divides]):
            cost = least + (base != expected.count_of(form)) + eps.cost + (form is not expected.form)
            heappush(waiting, (cost, number, place, Rule(form, correction, base, one.steps.lr, eps)))
    while waiting:
        yield heappop(waiting)[-1]


def _of_some_steps(moves: Moves) -> np.ndarray:
    """Mask of the points of some steps of every probe: they are read, and all are proved."""
    chosen = np.zeros(len(moves), bool)
    for probe in np.unique(moves.probe):
        there = moves.probe == probe
        steps = np.unique(moves.step[there])
        chosen |= there & np.isin(moves.step, steps[_spread(len(steps), STEPS)])
    return chosen


def _spread(number: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, number - 1, most).astype(int))


def _step_sizes(read: Readings, asked: Moves, kind: Kind, expected: Expected, format: Format) -> Iterator[_Steps]:
    """Every product of law, count, power and lr that gives the step sizes that were read."""
    few = _spread(len(read.at), GLANCE)
    glance, every = (
        _Sizes.of(one, of, kind, format) for one, of in ((read.at_cells(few), asked.at(few)), (read, asked))
    )
    # Most counts are the same at the few steps of a glance, and what they exclude all of them do.
    told: dict[tuple[bytes, bool, str], _Pairs | None] = {}
    for base, count, power in _counts(asked, expected, format):
        t = count.of(glance.asked, counted(glance.asked, base))
        same = t.tobytes(), count.guarded, power.name
        if same not in told:
            told[same] = glance.possible(base, count, power)
        if (pairs := told[same]) is None:
            continue
        for chosen, law, number in every.found(base, count, power, pairs):
            made = Correction(law, count, power)
            lr = replace(chosen, number=number) if chosen.free else chosen
            yield _Steps(made, base, lr)


_Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of choices and of laws, two arrays that broadcast to one shape."""


class _Sizes(NamedTuple):
    """Logarithms of the step sizes that were read over every lr that may be in force, (choices, cells)."""

    read: Readings
    asked: Moves
    choices: list[Choice]
    over: np.ndarray
    share: float

    @staticmethod
    def of(read: Readings, asked: Moves, kind: Kind, format: Format) -> _Sizes:
        """Of one kind of forms."""
        choices = list(step_sizes(format))
        with np.errstate(all="ignore"):
            lrs = np.stack([one.values(asked) for one in choices])
            over = np.log(np.abs(read.size)) - np.log(np.abs(lrs))
            # The sign of a step is that of lr: laws have none.
            signed = np.array([not one.free for one in choices])[:, None]
            over = np.where(signed & (np.sign(lrs) != np.sign(read.size)), np.nan, over)
        # dw = lr / c1 * m / (sqrt(v / c2) + eps) is lr * sqrt(c2) / c1 * m / (sqrt(v) + eps * sqrt(c2)).
        return _Sizes(read, asked, choices, over, 1.0 if not kind.root and not kind.squared else 0.5)

    def possible(self, base: str, count: Count, power: Power) -> _Pairs | None:
        """Choices of lr and laws that nothing read here excludes; None where none gives what was read."""
        pairs = np.arange(len(self.choices))[:, None], np.arange(len(laws()))
        low, high, enough = self._bounds(base, count, power, pairs)
        kept = self._agree(low, high, pairs)
        if not (kept & enough).any():
            return None
        choices, numbers = np.nonzero(kept)
        return choices, numbers

    def found(self, base: str, count: Count, power: Power, pairs: _Pairs) -> Iterator[tuple[Choice, Law, float]]:
        """Those of the pairs, (pairs,) each, that give what was read, and the factor of a free lr."""
        low, high, enough = self._bounds(base, count, power, pairs)
        for place in np.flatnonzero(self._agree(low, high, pairs) & enough):
            within = Reading(float(np.exp(low[place])), float(np.exp(high[place])))
            yield self.choices[pairs[0][place]], laws()[pairs[1][place]], within.named()

    def _agree(self, low: np.ndarray, high: np.ndarray, pairs: _Pairs) -> np.ndarray:
        free = np.array([one.free for one in self.choices])[pairs[0]]
        return np.asarray((low <= high) & (free | ((low <= 0) & (high >= 0))))

    def _bounds(
        self, base: str, count: Count, power: Power, pairs: _Pairs
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p, q = (one[:, None] for one in _exponents())
        with np.errstate(all="ignore"):
            c1, c2 = Correction(count=count, power=power).divisors(self.asked, counted(self.asked, base))
            # Where nothing is divided by it, a divisor may be 0.
            by_m, by_v = (np.where(one == 0, 0.0, one * np.log(c)) for one, c in ((p, c1), (q, c2)))
            left = self.over[pairs[0]] + (by_m - self.share * by_v)[pairs[1]]
            known = np.isfinite(left)
            error = self.read.size_error + power.slack
            low = np.where(known, left - error, -np.inf).max(axis=-1)
            high = np.where(known, left + error, np.inf).min(axis=-1)
        return low, high, known.sum(axis=-1) * 2 > len(self.read.at)


@cache
def _exponents() -> tuple[np.ndarray, np.ndarray]:
    """p and q of every law, (laws,) each."""
    return np.array([one.p for one in laws()]), np.array([one.q for one in laws()])


def _counts(asked: Moves, expected: Expected, format: Format) -> Iterator[tuple[str, Count, Power]]:
    bases = [expected.count_of(expected.form)]
    bases += [
        one
        for one in BASES
        if one not in bases and not any((counted(asked, one) == counted(asked, b)).all() for b in bases)
    ]
    formed = powers(asked, format)
    for base in bases:
        for count in counts():
            for power in formed:
                yield base, count, power


def _epsilons(offered: _Offered, format: Format) -> Iterator[tuple[Form, Choice]]:
    """Every form and eps that gives the eps that were read."""
    steps, read, asked, kind = offered.steps, offered.read, offered.asked, offered.kind
    with np.errstate(all="ignore"):
        _, c2 = steps.correction.divisors(asked, counted(asked, steps.base))
        for form in kind.forms:
            scale = 1.0 if form in (Form.HAT, Form.NESTEROV_HAT) else np.sqrt(c2) if kind.root else c2
            for eps in epsilons(format):
                expects = eps.values(asked) * scale
                low, high = read.epsilon - read.epsilon_error, read.epsilon + read.epsilon_error
                if eps.free:
                    usable = (expects > 0) & np.isfinite(low / expects)
                    within = Reading(
                        float(np.max(low[usable] / expects[usable], initial=-np.inf)),
                        float(np.min(high[usable] / expects[usable], initial=np.inf)),
                    )
                    if within.empty or within.high <= 0:
                        continue
                    eps = replace(eps, number=within.named())
                elif not ((low <= expects) & (expects <= high) | ~np.isfinite(low) | ~np.isfinite(expects)).all():
                    continue
                yield form, eps
