"""Heat maps: the matrix of pairs by dtype, and where the place of epsilon matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parity.case.case import RESTARTED
from parity.case.expectation import Kind
from parity.engine.matrix import Entry
from parity.report.figures import counted, number_text
from parity.report.html.wording import HEAT_LABELS, field_kinds
from parity.report.panels.maps import EPS, EpsilonMap, Field, HeatMap
from parity.report.panels.panels import Panels
from parity.report.plots import canvas
from parity.report.plots.canvas import one_line, svg_of
from parity.report.plots.plot import Plot, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 3
LEGEND_LINE = 12.0
LINE = 10.0


@dataclass(frozen=True, slots=True)
class Square:
    """A field. heat: its level; marked: outlined, as something is not as it should be."""

    lines: tuple[str, ...]
    heat: int
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The first line of the label is the heavier one; None where there is nothing."""

    label: tuple[str, ...]
    squares: tuple[Square | None, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """What is drawn, in points: label_width of the first column, height of a row, size of the text in a field."""

    title: str
    hints: tuple[str, ...]
    corner: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    label_width: float
    height: float
    size: float = 8.0


def draw_grid(grid: Grid) -> Figure:
    """Title, hints, legend of the shades, then the rows."""
    top = canvas.MARGIN + 14 + LINE * len(grid.hints) + LEGEND_LINE * (len(HEAT_LABELS) // LEGEND_COLUMNS) + 29
    figure = canvas.sheet(top + grid.height * len(grid.rows) + canvas.MARGIN)
    axes = canvas.page(figure)
    left = canvas.MARGIN + grid.label_width
    width = (canvas.WIDTH - canvas.MARGIN - left) / len(grid.columns)
    _head(axes, grid)
    axes.text(canvas.MARGIN, top - 5, grid.corner, color=canvas.SOFT)
    for number, name in enumerate(grid.columns):
        axes.text(left + width * (number + 0.5), top - 5, name, ha="center", size=grid.size, weight="bold")
    _shades(axes, grid.rows, left, top, width, grid.height)
    for place, row in enumerate(grid.rows):
        middle = top + grid.height * (place + 0.5)
        for number, (line, height) in enumerate(_spread(row.label, middle)):
            axes.text(canvas.MARGIN, height, line, va="center", color=canvas.SOFT if number else canvas.INK)
        for number, square in enumerate(row.squares):
            if square is not None:
                _told(axes, square, left + width * (number + 0.5), middle, grid.size)
    return figure


def _told(axes: Axes, square: Square, x: float, middle: float, size: float) -> None:
    for line, height in _spread(square.lines, middle):
        weight = "bold" if square.marked and line is square.lines[-1] else "normal"
        axes.text(
            x, height, line, ha="center", va="center", size=size, color=canvas.ON_HEAT[square.heat], weight=weight
        )


def _spread(lines: Sequence[str], middle: float) -> Iterator[tuple[str, float]]:
    """Every line with its height."""
    return ((line, middle + LINE * (place - (len(lines) - 1) / 2)) for place, line in enumerate(lines))


def _head(axes: Axes, grid: Grid) -> None:
    from matplotlib.patches import Rectangle

    height = canvas.MARGIN + 8
    axes.text(canvas.MARGIN, height, grid.title, size=10, weight="bold")
    for hint in grid.hints:
        height += LINE + 1
        axes.text(canvas.MARGIN, height, hint, color=canvas.SOFT)
    height += 9
    share = (canvas.WIDTH - 2 * canvas.MARGIN) / LEGEND_COLUMNS
    for level, label in enumerate(HEAT_LABELS):
        x = canvas.MARGIN + share * (level % LEGEND_COLUMNS)
        y = height + LEGEND_LINE * (level // LEGEND_COLUMNS)
        axes.add_patch(Rectangle((x, y), 14, 9, facecolor=canvas.HEAT[level], edgecolor=canvas.SOFT, linewidth=0.6))
        axes.text(x + 18, y + 4.5, label, va="center")


def _shades(axes: Axes, rows: Sequence[Row], left: float, top: float, width: float, height: float) -> None:
    """One path for each level, which takes a tenth of the bytes of one for each field."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    found = [
        (square, left + width * column, top + height * place)
        for place, row in enumerate(rows)
        for column, square in enumerate(row.squares)
        if square is not None
    ]

    def outlined(places: Sequence[tuple[float, float]], inset: float) -> Path:
        corners = ((inset, inset), (width - inset, inset), (width - inset, height - inset), (inset, height - inset))
        boxes = [Path([(x + a, y + b) for a, b in (*corners, corners[0])], closed=True) for x, y in places]
        return Path.make_compound_path(*boxes)

    for level, color in enumerate(canvas.HEAT):
        places = [(x, y) for square, x, y in found if square.heat == level]
        if places:
            axes.add_patch(PathPatch(outlined(places, 0), facecolor=color, edgecolor=canvas.LINE, linewidth=0.8))
    marked = [(x, y) for square, x, y in found if square.marked]
    if marked:
        axes.add_patch(PathPatch(outlined(marked, 1.5), fill=False, edgecolor=canvas.ALARM, linewidth=2.5))


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
    """All pairs of a run, but for what was restarted and came back to the last bit: it has no difference to show."""
    first = [(one.actual, one.expected) for one in panels.conclusions]
    rows = panels.heat.matrix.rows
    plain = [pair for pair in rows if not pair[0].endswith(RESTARTED) or _parts(rows[pair].values())]
    return list(dict.fromkeys([*first, *(plain or rows)]))


def _parts(entries: Iterable[Entry]) -> bool:
    return any(one.worst is not Kind.IDENTICAL or one.as_expected < one.cases for one in entries)


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


def draw_epsilon(found: EpsilonMap, number: int) -> Plot:
    """One map."""
    grid = Grid(
        title=f"Epsilon {found.actual} against {found.expected}: one update apart, in lr",
        hints=(f"Rows: size of a gradient that is the same at every step. Columns: step. eps {EPS:g} in both places.",),
        corner="|g|",
        columns=tuple(f"{step:,}" for step in found.steps),
        rows=tuple(
            Row((f"{gradient:.0e}".replace("e-0", "e-").replace("e+00", ""),),
                tuple(Square((_digit(gap.lr),), gap.heat) for gap in row))
            for gradient, row in zip(found.gradients, found.gaps, strict=True)
        ),
        label_width=30.0,
        height=14.0,
        size=7.0,
    )  # fmt: skip
    alternative = (
        f"Heat map of the difference of one update, in lr, between epsilon {found.actual} and {found.expected}, by "
        "size of the gradient and step."
    )
    return Plot(Section.EPSILON, f"epsilon-{number}.svg", alternative, svg_of(draw_grid(grid), alternative))


def _digit(lr: float) -> str:
    if not lr:
        return "0"
    told = f"{lr:.0e}"
    return f"{float(told):g}" if float(told) >= 0.01 else told.replace("e-0", "e-")
