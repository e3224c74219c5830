"""What the difference of the weights is made of, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from parity.explain.explanation import Explanation

DIGITS = 3


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the terms of w, by term, at 1-based steps: rms of the term over the sum of those of all; 0 to 1."""

    steps: tuple[int, ...]
    by_term: dict[str, tuple[float, ...]]


def shares_of(explanation: Explanation) -> Shares:
    """Terms that are nowhere more than 0; no steps where nothing was split."""
    rms = {(row.term, row.step): row.rms for row in explanation.split if row.quantity == "w" and row.term != "total"}
    terms = tuple(dict.fromkeys(term for term, _ in rms))
    steps = tuple(sorted({step for _, step in rms}))
    totals = {step: sum(rms[term, step] for term in terms) for step in steps}
    found = {term: tuple(_share(rms[term, step], totals[step]) for step in steps) for term in terms}
    return Shares(steps, {term: row for term, row in found.items() if any(row)})


def _share(part: float, total: float) -> float:
    return float(f"{part / total:.{DIGITS}g}") if total > 0 else 0.0
