"""Implementations against their twins, and causes of pairs, as rows of text for report.md and the page."""

from __future__ import annotations

from collections.abc import Iterator

from parity.engine.accounts import Answers, Twins, dtypes_of, left_open, not_explained, pair_rows, sampled
from parity.engine.accounts import twin_rows as rows_of_twins
from parity.engine.record import Run
from parity.report.markup import escape, table
from parity.report.plots import plot
from parity.report.plots.plot import Plots, Section

FAMILIES_SHOWN = 4

TWINS = """\
A **twin** is the from-scratch Adam with the formula and the arithmetic that an implementation is known to have: the
order of its operations, where it fuses products and sums, how it rounds lr, betas and their powers, which square root
it takes, what it flushes to zero. Every step is made from the recorded one before, so that *0 differ* means: every bit
of m, v and w of every step is that of a formula that can be read. The error is that of the weights after the last step
against the exact Adam (double-double) of the same convention: median of the cases, in ULP, root of the mean square."""


def section(run: Run, plots: Plots) -> str:
    """Every implementation and dtype; empty where nothing was explained, but for the line that no plot shows it."""
    head, rows = "## Each implementation against its twin", twin_rows(run)
    errors = plot.shown(plots, Section.ACCURACY)
    if not rows:
        return f"{head}\n\n{errors}" if errors else ""
    left = "\n".join(f"- {escape(line)}" for line in open_lines(run))
    told = table(rows[0], [[escape(text) for text in row] for row in rows[1:]])
    return "\n\n".join(filter(None, [f"{head}\n\n{TWINS}", told, errors, left]))


def twin_rows(run: Run) -> list[list[str]]:
    """Implementation, then for every dtype of the run what its twin leaves and how far it is from the truth."""
    dtypes = dtypes_of(run)
    rows = [
        [one.implementation, *(_twins_text(one.by_dtype.get(dtype)) for dtype in dtypes)] for one in rows_of_twins(run)
    ]
    return [["implementation", *dtypes], *rows] if rows else []


def _twins_text(found: Twins | None) -> str:
    if found is None:
        return ""
    error = f"error {found.error_ulp:.2g} ULP"
    twin = "" if found.sources == ("claimed",) else f" ({', '.join(found.sources)})"
    if not found.open:
        return f"0 of {found.compared:,} differ{twin}; {error}"
    where = f"{found.open} of {found.cases} cases, most in {found.worst_case} ({found.worst_ulp:,} ULP)"
    return f"{found.differing:,} of {found.compared:,} differ in {where}{twin}; {error}"


def open_lines(run: Run) -> Iterator[str]:
    """Cells that were not explained, then what twins leave open, each implementation and dtype once."""
    for case, dtype, reason in not_explained(run):
        yield f"{case} {dtype} was not explained: {reason}."
    for case, dtype, looked_at, elements in sampled(run):
        yield f"{case} {dtype} was explained on {looked_at:,} of {elements:,} elements, some of every tensor."
    for one in left_open(run):
        told = "; ".join(
            f"{case}: {differing:,} of {compared:,} elements, up to {max_ulp:,} ULP"
            for case, differing, compared, max_ulp in one.cases
        )
        yield f"{one.implementation} in {one.dtype} is left open: {one.why} ({told})."


def why_rows(run: Run) -> list[list[str]]:
    """Pair, then for every dtype how many cases are identical, explained or not, and by which families."""
    dtypes = dtypes_of(run)
    rows = [
        [f"{one.actual} / {one.expected}", *(_answers_text(one.by_dtype.get(dtype)) for dtype in dtypes)]
        for one in pair_rows(run)
    ]
    return [["pair", *dtypes], *rows] if rows else []


def _answers_text(found: Answers | None) -> str:
    if found is None:
        return ""
    told = ", ".join(f"{count} {answer}" for answer, count in found.counts)
    named = ", ".join(found.families[:FAMILIES_SHOWN])
    return f"{told}: {named}" if named else told
