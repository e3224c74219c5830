"""The error of every implementation against the exact Adam, by dtype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from parity.report.figures import counted, number_text
from parity.report.panels.maps import Accuracy, Error
from parity.report.plots import canvas
from parity.report.plots.plot import Plot, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 40

LONGEST_NAME = 24

LABELS = 125.0
HEIGHT = 21.0
BAR = 4.0

BLUE = "#0072b2"


def draw_accuracy(accuracy: Accuracy) -> Plot:
    """Bars with their figures; each dtype has a scale of its own."""
    rows = list(accuracy.rows.items())[:MOST_ROWS]
    top = canvas.MARGIN + 62
    figure = canvas.sheet(top + HEIGHT * len(rows) + canvas.MARGIN)
    axes = canvas.page(figure)
    axes.text(canvas.MARGIN, canvas.MARGIN + 8, "How far each one is from the truth", size=10, weight="bold")
    for place, hint in enumerate((
        "Error of the weights after the last step against the exact Adam of the same convention, in ULP: root",
        "of the mean square, median of the cases. Bars are logarithmic; each dtype has its own scale.",
    )):  # fmt: skip
        axes.text(canvas.MARGIN, canvas.MARGIN + 20 + 11 * place, hint, color=canvas.SOFT)
    width = (canvas.WIDTH - 2 * canvas.MARGIN - LABELS) / len(accuracy.dtypes)
    for column, dtype in enumerate(accuracy.dtypes):
        axes.text(canvas.MARGIN + LABELS + width * column, top - 6, dtype, weight="bold")
    for place, (name, errors) in enumerate(rows):
        height = top + HEIGHT * place
        axes.axhline(height, canvas.MARGIN / canvas.WIDTH, 1 - canvas.MARGIN / canvas.WIDTH, color=canvas.LINE, lw=0.5)
        axes.text(canvas.MARGIN, height + HEIGHT / 2, canvas.one_line(name, LONGEST_NAME), va="center")
        for column, dtype in enumerate(accuracy.dtypes):
            if dtype in errors:
                _bar(axes, errors[dtype], canvas.MARGIN + LABELS + width * column, height, width - 8)
    alternative = (
        f"Errors of {counted(len(rows), 'implementation')} against the exact Adam, in ULP, by dtype. "
        "The table above has the same figures."
    )
    return Plot(Section.ACCURACY, "accuracy.svg", alternative, canvas.svg_of(figure, alternative))


def _bar(axes: Axes, error: Error, x: float, y: float, width: float) -> None:
    from matplotlib.patches import Rectangle

    size = error.twins.error_ulp
    axes.text(x, y + 12, f"{number_text(size)} ULP" if math.isfinite(size) else "NaN/inf")
    axes.add_patch(Rectangle((x, y + HEIGHT - BAR - 2.5), width * error.bar, BAR, facecolor=BLUE))
