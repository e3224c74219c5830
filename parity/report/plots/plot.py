"""A plot that is drawn, or the reason why it is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
