"""Plots as they stand in report.md: images with what they show, and a line for what is not drawn."""

from __future__ import annotations

from parity.report.figures import counted
from parity.report.markup import escape, image
from parity.report.plots.plot import FOLDER, Plot, Plots, Section

UNFOLDED = 3
"""Plots of a section that are seen at once."""

TITLES = {
    Section.DIFFERENCE: "Difference by step",
    Section.EPSILON: "Epsilon: where its place matters",
}

HINTS = {
    Section.DIFFERENCE: """\
For every pair that people ask about first, the case of median size: how far the weights are apart in lr, then weights
and moments in ULP, both the largest of all elements after each step, on logarithmic axes. The **noise floor** is what a
change of every initial weight, or of every first gradient, by 1 ULP makes of the weights.""",
    Section.EPSILON: """\
Computed from the formulas, not measured: the difference of one update, in lr, between two places of the same eps, for
a gradient of one size at every step (beta2 0.999). `parity convert-eps` says what to write instead.""",
}


def titled(plots: Plots, section: Section) -> str:
    """A section that has nothing but plots; empty where it has none."""
    told = shown(plots, section)
    return f"## {TITLES[section]}\n\n{HINTS[section]}\n\n{told}" if told else ""


def shown(plots: Plots, section: Section) -> str:
    """The images of a section, all but the first ones folded, then what is left out; empty where there is nothing."""
    drawn = [_image(one) for one in plots.drawn if one.section is section]
    seen, folded = drawn[:UNFOLDED], drawn[UNFOLDED:]
    more = (
        f"<details><summary>{counted(len(folded), 'more plot')}</summary>\n\n{_lines(folded)}\n\n</details>"
        if folded
        else ""
    )
    return _lines([*seen, more, *(escape(reason) for place, reason in plots.left_out if place is section)])


def _image(plot: Plot) -> str:
    return image(plot.alternative, f"{FOLDER}/{plot.name}")


def _lines(parts: list[str]) -> str:
    return "\n\n".join(filter(None, parts))
