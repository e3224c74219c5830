"""Where the place of epsilon matters, as heat maps: sizes of the gradient by steps."""

from __future__ import annotations

from parity.report.panels.epsilon_map import EPS, EpsilonMap
from parity.report.plots.canvas import svg_of
from parity.report.plots.grid import Grid, Row, Square, draw_grid
from parity.report.plots.plot import Plot, Section


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
