"""Pairs by verdict, as plain lines for the end of a session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from parity.case.expectation import Kind
from parity.engine.matrix import WORST_FIRST
from parity.engine.record import Run

HEAD = ("verdict", "pairs", "as expected", "elements compared")


def tally_lines(run: Run) -> Iterator[str]:
    """A table with a row for every verdict that was given, best first, and their sum."""
    tally: dict[Kind, list[int]] = defaultdict(lambda: [0, 0, 0])
    pairs = run.pairs()
    for one in run.verdicts:
        compared = sum(distance.compared for distance in pairs[one.place].distances)
        for place, amount in enumerate((1, int(one.verdict.as_expected), compared)):
            tally[one.verdict.kind][place] += amount
    rows = [(str(kind), *tally[kind]) for kind in reversed(WORST_FIRST) if kind in tally]
    total = ("total", *(sum(column) for column in list(zip(*rows, strict=True))[1:])) if rows else ("total", 0, 0, 0)
    told = [HEAD, *((name, *(f"{amount:,}" for amount in amounts)) for name, *amounts in (*rows, total))]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    for name, *figures in told:
        yield "  ".join(
            [name.ljust(widths[0]), *(one.rjust(width) for one, width in zip(figures, widths[1:], strict=True))]
        )


def alarm_lines(run: Run) -> Iterator[str]:
    """What makes a session red beside its tests."""
    if not run.counts.elements:
        yield "nothing was compared"
    yield from (f"stale: {line}" for line in run.stale)
    yield from (f"{one.severity}: {one.title}: {one.detail}" for one in run.findings if one.severity == "alarm")
