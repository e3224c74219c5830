"""The budgets of a run, and how many wrong Adams each of them catches, as rows of text."""

from __future__ import annotations

from collections.abc import Iterator

from parity.engine.record import Run
from parity.report.figures import power_text

NAMES = 6


def budget_rows(run: Run) -> Iterator[tuple[str, str, str, int, str]]:
    """Case, dtype, budget and its reference, pairs that are held to it, what it catches."""
    for one in run.powers:
        yield one.case, one.dtype, one.budget, one.pairs, power_text(one, NAMES)
