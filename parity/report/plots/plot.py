"""A plot that is drawn, or the reason why it is not; the folder of plots, and what report.md says of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from parity.core.files import write_atomically
from parity.report.figures import counted
from parity.report.markup import escape, image

FOLDER = "plots"


class Section(StrEnum):
    """The sections of report.md that have plots."""

    MATRIX = "matrix"
    DIFFERENCE = "difference"
    ACCURACY = "accuracy"
    EPSILON = "epsilon"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture. name: of its file, made of nothing that a user named; alternative: what it shows, in a sentence."""

    section: Section
    name: str
    alternative: str
    svg: str


@dataclass(frozen=True, slots=True)
class Plots:
    """All that is drawn of a run. left_out: what is not, section by section, in a sentence that says why."""

    drawn: tuple[Plot, ...] = ()
    left_out: tuple[tuple[Section, str], ...] = ()


OWN = ("matrix.svg", "difference-*.svg", "accuracy.svg", "epsilon-*.svg")
"""Names of the files that are written, and removed; anything else that stands there is not ours."""


def write_plots(plots: Plots, folder: Path) -> None:
    """Write every plot of a run directory; before report.md, which shows them."""
    place = folder / FOLDER
    if place.is_symlink() or place.is_file():
        # Through a link the files would land elsewhere.
        place.unlink()
    if plots.drawn:
        place.mkdir(exist_ok=True)
    for one in plots.drawn:
        write_atomically(place / one.name, one.svg)


def remove_plots(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove plots that report.md does not show, or no longer; after it was written."""
    place = folder / FOLDER
    if place.is_symlink() or not place.is_dir():
        return
    for path in [path for pattern in OWN for path in place.glob(pattern)]:
        if path.name not in keep:
            path.unlink()
    if not any(place.iterdir()):
        place.rmdir()


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
