"""What stands around Adam, in words: fields of the table and sentences of a stage, for report.md and the page."""

from __future__ import annotations

import math
from collections.abc import Iterator

from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.explain.headlines import FIRST
from parity.report.figures import steps_text
from parity.report.markup import escape, table
from parity.report.panels.around import FROM_SCRATCH, Absent, Around, Beside, Extent, Ground, Stage

INTRODUCTION = (
    "What a training does around the step, by each framework's own means. A field has the largest difference of the "
    f"weights, or of an average that stands beside them, and what makes it, in {FIRST} unless another dtype shows more "
    "than rounding; where a schedule has come to 0, lr is the one that it began with."
)

EPSILON_ON_TOP = (
    "Where epsilon stands is on top of every pair of Keras and another framework, whatever the stage. To subtract it, "
    "look at each of them beside the from-scratch Adam, which here has epsilon where the framework beside it has."
)

TITLES = {
    Ground.EQUAL: "The same everywhere, bit for bit",
    Ground.ROUNDING: "The same everywhere, rounded differently",
    Ground.EPSILON: "The same everywhere, but for where epsilon stands",
    Ground.FORMULA: "Not the same everywhere",
    Ground.UNEXPLAINED: "Not all that differs is explained",
}

SYMBOLS = {Ground.EQUAL: "=", Ground.ROUNDING: "≈", Ground.EPSILON: "≈", Ground.FORMULA: "≠", Ground.UNEXPLAINED: "≠"}

NOT_COMPARED = ("–", "Nothing was compared")  # noqa: RUF001


def title(stage: Stage) -> str:
    """The same or not, in a few words."""
    return NOT_COMPARED[1] if stage.ground is None else TITLES[stage.ground]


def symbol(stage: Stage) -> str:
    """= the same bits, ≈ the same but for rounding and epsilon, ≠ something else."""
    return NOT_COMPARED[0] if stage.ground is None else SYMBOLS[stage.ground]


def sides(found: Around, pair: tuple[str, str]) -> tuple[str, str]:
    """Both of a pair by their frameworks, where no other Adams of those are looked at."""
    return _short(found, *pair), _short(found, pair[1], pair[0])


def _short(found: Around, name: str, other: str) -> str:
    framework = name.partition(".")[0]
    if framework == FROM_SCRATCH:
        beside = {side for pair in found.pairs for side in pair if other in pair and side != other}
        alone = sum(side.partition(".")[0] == FROM_SCRATCH for side in beside) == 1
        return "from scratch" if alone else name
    names = {side for pair in found.pairs for side in pair if side.partition(".")[0] == framework}
    return framework if len(names) == 1 else name


def size(extent: Extent) -> str:
    """The difference of the weights, in units of lr."""
    return steps_text(extent.lr) if extent.lr < math.inf else "NaN/inf"


def why(extent: Extent) -> str:
    """What makes a difference, in a few words; epsilon, which is on top of everything, only where nothing else is."""
    if extent.ground in (Ground.EQUAL, Ground.ROUNDING):
        return "" if extent.ground is Ground.EQUAL else "rounding"
    families = ", ".join(one for one in extent.families if one != Family.EPSILON_PLACEMENT)
    if extent.ground is Ground.UNEXPLAINED:
        return f"{families}, unexplained" if families else "unexplained"
    return families or "epsilon"


def field(beside: Beside | None) -> tuple[str, str]:
    """What a field of the table says: the size, or why there is none, and what makes it, with the dtype."""
    if beside is None:
        return "", ""
    if beside.main is None:
        return "skipped", ""
    where = "" if beside.main.dtype == FIRST else f"in {beside.main.dtype}"
    told = "equal" if beside.main.ground is Ground.EQUAL else size(beside.main)
    return told, ", ".join(filter(None, (why(beside.main), where)))


def differences(stage: Stage) -> Iterator[str]:
    """Pairs that differ by more than rounding and the place of epsilon, each as a sentence."""
    for one in stage.pairs:
        if one.main is not None and one.main.ground >= Ground.FORMULA:
            found = [extent for extent in one.by_dtype if extent.ground >= Ground.FORMULA]
            sizes = ", ".join(f"{size(extent)} in {extent.dtype}" for extent in found)
            families = dict.fromkeys(family for extent in found for family in extent.families)
            reasons = [sentence_of(Family(family)) for family in families]
            if any(extent.ground is Ground.UNEXPLAINED for extent in found):
                reasons.append("not every bit has a named cause")
            yield f"{one.actual} and {one.expected} differ by {sizes}: {'; '.join(reasons)}."


def absent(one: Absent) -> str:
    """Who has no such thing and why."""
    where = f" in {', '.join(one.dtypes)}" if one.dtypes else ""
    return f"{', '.join(one.implementations)}{where}: {one.reason.removesuffix('.')}."


def section(found: Around) -> str:
    """All of it as Markdown; empty where no case of the run has any."""
    if not found.stages:
        return ""
    heads = ["<br>".join(map(escape, sides(found, pair))) for pair in found.pairs]
    rows = [
        [escape(stage.title), *("<br>".join(filter(None, field(stage.pair(*pair)))) for pair in found.pairs)]
        for stage in found.stages
    ]
    parts = ["## Around Adam", f"{INTRODUCTION} {EPSILON_ON_TOP}", table(["stage", *heads], rows)]
    return "\n\n".join([*parts, *map(_stage, found.stages)])


def _stage(stage: Stage) -> str:
    lines = [
        *(f"- {escape(line)}" for line in differences(stage)),
        *(f"- *Skipped:* {escape(absent(one))}" for one in stage.absent),
        *(f"- *{' and '.join(one.between)}:* {one.text} {one.fact}" for one in stage.advice),
    ]
    cases = ", ".join(map(escape, stage.cases))
    return f"### {escape(stage.title)}\n\n{title(stage)} ({cases}).\n\n" + "\n".join(lines)
