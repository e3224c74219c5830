"""The matrix as a heat map: pairs by dtype."""

from __future__ import annotations

import math

from parity.engine.matrix import Entry
from parity.report.figures import counted, number_text
from parity.report.html.wording import field_kinds
from parity.report.panels.heat import Field, HeatMap
from parity.report.panels.panels import Panels
from parity.report.plots.canvas import one_line, svg_of
from parity.report.plots.grid import Grid, Row, Square, draw_grid
from parity.report.plots.plot import Plot, Section

MOST_ROWS = 30

LONGEST_NAME = 24

TITLE = "How far the weights of every pair are apart"
HINTS = (
    "A field has the worst verdict and how often it was given; below, the difference of w in lr: in the",
    "median case, which sets the shade, then at worst.",
)


def draw_matrix(panels: Panels) -> Plot:
    """Those pairs first that people ask about."""
    pairs = ordered(panels)[:MOST_ROWS]
    heat = panels.heat
    grid = Grid(
        title=TITLE,
        hints=HINTS,
        corner="actual, expected",
        columns=heat.matrix.dtypes,
        rows=tuple(_row(heat, *pair) for pair in pairs),
        label_width=120.0,
        height=26.0,
    )
    alternative = (
        f"Heat map of {counted(len(pairs), 'pair')} by dtype ({', '.join(heat.matrix.dtypes)}): verdict, median and "
        "worst difference of w in lr. The table below has the same verdicts."
    )
    return Plot(Section.MATRIX, "matrix.svg", alternative, svg_of(draw_grid(grid), alternative))


def ordered(panels: Panels) -> list[tuple[str, str]]:
    """All pairs of a run."""
    first = [(one.actual, one.expected) for one in panels.conclusions]
    return list(dict.fromkeys([*first, *panels.heat.matrix.rows]))


def _row(heat: HeatMap, actual: str, expected: str) -> Row:
    row = heat.matrix.rows[actual, expected]
    squares = (
        _square(row[dtype], heat.fields[actual, expected, dtype]) if dtype in row else None
        for dtype in heat.matrix.dtypes
    )
    return Row((one_line(actual, LONGEST_NAME), one_line(expected, LONGEST_NAME)), tuple(squares))


def _square(entry: Entry, field: Field) -> Square:
    verdict, _ = field_kinds(entry.kinds)
    if entry.as_expected < entry.cases:
        return Square((verdict, f"{entry.cases - entry.as_expected} UNEXPECTED"), field.heat, marked=True)
    if field.median is None:
        return Square((verdict,), field.heat)
    if entry.first_step is None:
        return Square((verdict, "0"), field.heat)
    return Square((verdict, f"{_size(field.median)}  |  {_size(entry.worst_steps)}"), field.heat)


def _size(lr: float) -> str:
    return number_text(lr) if math.isfinite(lr) else "NaN/inf"
