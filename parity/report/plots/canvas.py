"""The same picture in fewer bytes."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from parity.report.markup import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONTS = "'DejaVu Sans', Verdana, sans-serif"

_STYLE = '<style type="text/css">'

_NUMBER = re.compile(r"\d+\.\d{3,}")

_DISPENSABLE = re.compile(
    r' id="(figure|axes|patch|text|line2d|matplotlib\.axis|xtick|ytick|legend)_\d+"'
    r'| transform="rotate\(-0 [^"]*\)"'
    r"|font-family: 'DejaVu Sans', sans-serif(; )?"
)


def slim(svg: str) -> str:
    """SVG as Matplotlib writes it, without what nothing shows: names of groups, metadata, digits, indents.

    Between two tags nothing but indents is touched: text has neither < nor >, so that no tag begins in it.
    """
    svg = re.sub(r"<!DOCTYPE[^>]*>\n?|<metadata>.*?</metadata>\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*(?=<)", "\n", re.sub(r"<[^<>]+>", lambda tag: _slim_tag(tag[0]), svg))
    svg = svg.replace(_STYLE, f"{_STYLE}text{{font-family: {FONTS}}} ", 1)
    return re.sub(r"\n</", "</", svg)


def _slim_tag(tag: str) -> str:
    tag = re.sub(r"\s+", " ", tag)
    return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), _DISPENSABLE.sub("", tag))


WIDTH = 450.0
"""Points; 600 pixels, so that a phone shows a plot without shrinking it to nothing."""

MARGIN = 10.0

INK, SOFT, LINE, PAPER, ALARM = "#1b1f24", "#57606a", "#c3cad2", "#ffffff", "#a3123a"

HEAT = ("#ffffff", "#e6f0f9", "#c3dcf0", "#8cbde0", "#3274b0", "#0b3d78")
ON_HEAT = (INK, INK, INK, INK, "#ffffff", "#ffffff")

POINTS_AN_INCH = 72

_LOOK: dict[str, Any] = {
    "font.family": ["sans-serif"],
    # The font that Matplotlib brings measures the text; what shows it may have another.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "parity",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw as every plot is drawn, whatever a user has set up; nothing of it stays."""
    told = logging.getLogger("matplotlib")
    level = told.level
    # It tells of caches that it builds.
    told.setLevel(logging.ERROR)
    try:
        import matplotlib

        # The backend stays: it belongs to who shows figures on a screen.
        defaults: dict[Any, Any] = {
            key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")
        }
        defaults.update(_LOOK)
        with warnings.catch_warnings():
            # Some defaults are deprecated; a character that the font lacks is measured as another one.
            warnings.filterwarnings("ignore", category=matplotlib.MatplotlibDeprecationWarning)
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            with matplotlib.rc_context(defaults):
                yield
    finally:
        told.setLevel(level)


def sheet(height: float) -> Figure:
    """A figure of the common width. height: in points."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / POINTS_AN_INCH, height / POINTS_AN_INCH), dpi=POINTS_AN_INCH)


def page(figure: Figure) -> Axes:
    """Axes over a whole figure, in points from its upper left corner."""
    width, height = (side * POINTS_AN_INCH for side in figure.get_size_inches())
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set(xlim=(0.0, width), ylim=(height, 0.0))
    return axes


def svg_of(figure: Figure, title: str) -> str:
    """The figure as SVG without a date or a version."""
    target = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(target, format="svg", metadata={**nothing, "Title": one_line(title)})
    return slim(target.getvalue())


def one_line(text: str, most: int | None = None) -> str:
    """Text of a run as it may stand in a picture: one line, its middle left out where it is longer than `most`."""
    plain = " ".join(printable(text).split())
    if most is None or len(plain) <= most:
        return plain
    tail = most // 2
    return f"{plain[: most - tail - 1]}…{plain[-tail:]}"
