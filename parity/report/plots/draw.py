"""All plots of a run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from parity.report.panels.panels import Panels
from parity.report.panels.view import View
from parity.report.plots.accuracy import MOST_ROWS as MOST_IMPLEMENTATIONS
from parity.report.plots.accuracy import draw_accuracy
from parity.report.plots.canvas import look
from parity.report.plots.difference import draw_difference
from parity.report.plots.maps import MOST_ROWS, draw_epsilon, draw_matrix, ordered
from parity.report.plots.plot import Plot, Plots, Section

NEEDED = "matplotlib"

MOST_PAIRS = 8

ELSEWHERE = "report.html has all of them"


def draw(panels: Panels) -> Plots:
    """Everything that can be drawn, and why the rest is not."""
    if find_spec(NEEDED) is None:
        return Plots((), ((Section.MATRIX, f"No plots: {NEEDED} is missing; `pip install 'parity[report]'`."),))
    with look():
        return Plots(tuple(_drawn(panels)), tuple(_left_out(panels)))


def _drawn(panels: Panels) -> Iterator[Plot]:
    if panels.accuracy.rows:
        yield draw_accuracy(panels.accuracy)
    if panels.heat.matrix.rows:
        yield draw_matrix(panels)
    for number, view in enumerate(_views(panels)[:MOST_PAIRS], start=1):
        yield draw_difference(view, number)
    for number, found in enumerate(panels.epsilon, start=1):
        yield draw_epsilon(found, number)


def _left_out(panels: Panels) -> Iterator[tuple[Section, str]]:
    pairs, views = len(ordered(panels)), len(_views(panels))
    if not pairs:
        yield Section.MATRIX, "No plot: nothing was compared."
    if pairs > MOST_ROWS:
        yield Section.MATRIX, f"The plot has the first {MOST_ROWS} of {pairs:,} pairs; the table has all of them."
    if not views:
        yield Section.DIFFERENCE, "No plot: no pair that was looked at closely differs in any bit."
    if views > MOST_PAIRS:
        yield Section.DIFFERENCE, f"Plots of the first {MOST_PAIRS} of {views:,} pairs; {ELSEWHERE}."
    equal = [one for one in panels.conclusions if one.headline and not one.main.differing]
    if equal and views:
        named = ", ".join(f"{one.actual} / {one.expected}" for one in equal[:MOST_PAIRS])
        more = f" and {len(equal) - MOST_PAIRS:,} more" if len(equal) > MOST_PAIRS else ""
        yield Section.DIFFERENCE, f"Equal in every bit, so without a plot: {named}{more}."
    if not panels.accuracy.rows:
        yield Section.ACCURACY, "No plot of the errors: nothing was explained."
    if len(panels.accuracy.rows) > MOST_IMPLEMENTATIONS:
        yield (
            Section.ACCURACY,
            f"The plot has the first {MOST_IMPLEMENTATIONS} of {len(panels.accuracy.rows):,} implementations.",
        )


def _views(panels: Panels) -> list[View]:
    """Of every headline pair that differs, the case of median size."""
    found = (panels.views.get((one.actual, one.expected)) for one in panels.conclusions if one.headline)
    return [one.views[one.shown] for one in found if one is not None and one.shown is not None]
