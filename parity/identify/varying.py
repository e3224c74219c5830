"""Step sizes that no one rule gives: read for every tensor, or for every step, on their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np

from parity.identify.points import Reading, named
from parity.identify.search import Expected, search
from parity.identify.update_forms import Form, Moves, factor
from parity.identify.update_rule import Choice, Rule, step_sizes
from parity.numerics.formats import Format

SHOWN = 6
"""Numbers of a sequence that are told in words."""


def varying_rule(moves: Moves, expected: Expected, format: Format) -> Rule | None:
    """The rule of all points whose lr is another one by tensor or by step; None where there is none."""
    return _by_tensor(moves, expected, format) or _by_step(moves, expected, format)


def _by_tensor(moves: Moves, expected: Expected, format: Format) -> Rule | None:
    sizes = Counter(moves.tensor.tolist())
    if len(sizes) < 2:
        return None
    known, rules = [expected.rule], {}
    for name, _ in sizes.most_common():
        part = moves.at(moves.tensor == name)
        rule = next(_that_fit(known, part, format), None) or search(part, expected, format)
        if rule is None:
            return None
        rules[name] = rule
        known += [rule] if rule not in known else []
    # All but lr has to be one rule.
    bases = {(rule.form, rule.correction, rule.count, rule.eps) for rule in rules.values()}
    return _joined(rules, sizes) if len(bases) == 1 else None


def _that_fit(rules: Iterable[Rule], moves: Moves, format: Format) -> Iterator[Rule]:
    """Those that every point follows, as they are or with another factor of lr."""
    for rule in rules:
        if not rule.wrong(moves, format).any():
            yield rule
    free = next(one for one in step_sizes(format) if one.name == "factor")
    for rule in rules:
        found = replace(rule, lr=free).read(moves, format)
        if found is not None and not found.wrong(moves, format).any():
            yield found


def _joined(rules: dict[str, Rule], sizes: Counter[str]) -> Rule:
    """One rule of all tensors: the lr of most points, and that of every other."""
    usual: Counter[Choice] = Counter()
    for name, rule in rules.items():
        usual[rule.lr] += sizes[name]
    ((base, _),) = usual.most_common(1)
    others: dict[Choice, list[str]] = {}
    for name, rule in rules.items():
        if rule.lr != base:
            others.setdefault(rule.lr, []).append(name)
    told = [
        f"{lr.detail.format(lr.number) if lr.family else 'lr is what was asked'} for {named(names)}"
        for lr, names in others.items()
    ]
    told += [base.detail.format(base.number)] if base.family else []

    def values(moves: Moves) -> np.ndarray:
        lr = base.number * base.values(moves)
        for other, names in others.items():
            lr = np.where(np.isin(moves.tensor, names), other.number * other.values(moves), lr)
        return np.asarray(lr)

    one = next(iter(rules.values()))
    return replace(one, lr=Choice("by tensor", values, "parameter-groups", "; ".join(told)))


def _by_step(moves: Moves, expected: Expected, format: Format) -> Rule | None:
    counts = dict.fromkeys((expected.count_of(expected.form), "step", "seen"))
    for form, count in product(dict.fromkeys((expected.form, Form.OUTSIDE, Form.HAT)), counts):
        rule = Rule(form, count=count)
        table = _factors(rule, moves, format)
        if table is None:
            continue
        for lr in _sequences(table):
            found = replace(rule, lr=lr)
            if not found.wrong(moves, format).any():
                return found
    return None


def _factors(rule: Rule, moves: Moves, format: Format) -> list[Reading] | None:
    """The factor of lr at every step; None where the points of a step do not agree on one."""
    change = rule.change(moves, format)
    order = np.argsort(moves.step, kind="stable")
    ends = np.searchsorted(moves.step[order], np.arange(1, int(moves.step.max()) + 2))
    table = []
    for start, end in pairwise(ends.tolist()):
        there = order[start:end]
        found = factor(moves.at(there), type(change)(*(one[there] for one in change)), format)
        if found.empty:
            return None
        table.append(found)
    return table


def _sequences(table: list[Reading]) -> Iterator[Choice]:
    """Words for factors by step, then the numbers themselves."""
    t = np.arange(1.0, len(table) + 1)
    low, high = (np.array([getattr(one, name) for one in table]) for name in ("low", "high"))
    with np.errstate(all="ignore"):
        for first, text in ((0, "t"), (1, "(t - 1)")):
            rate = _shared((1 / high - 1) / (t - first), (1 / low - 1) / (t - first), t > first)
            if not rate.empty:
                k = rate.named()
                yield _sequence(f"lr is divided by 1 + {k:g} * {text}", 1 / (1 + k * (t - first)))
        full = (low <= 1) & (high >= 1)
        if full.any() and full[int(np.argmax(full)) :].all() and not full.all():
            end = int(np.argmax(full)) + 1
            yield _sequence(f"lr grows in proportion to t by step {end}: a warm-up", np.minimum(t / end, 1.0))
    numbers = np.array([one.named((1.0,)) for one in table])
    shown = ", ".join(f"{one:.6g}" for one in numbers[:SHOWN]) + (", ..." if len(table) > SHOWN else "")
    yield _sequence(f"lr is another one by step: {shown} times what was asked", numbers)


def _shared(low: np.ndarray, high: np.ndarray, some: np.ndarray) -> Reading:
    usable = some & np.isfinite(low) & np.isfinite(high)
    return Reading(float(low[usable].max()), float(high[usable].min())) if usable.any() else Reading(np.inf, -np.inf)


def _sequence(detail: str, factors: np.ndarray) -> Choice:
    return Choice("by step", lambda moves: moves.lr * factors[moves.step.astype(int) - 1], "schedule", detail)
