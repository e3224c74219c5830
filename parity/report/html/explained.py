"""The tables of an explanation, as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parity.explain.explanation import ErrorRow, Explanation, SplitRow, Told, percent, sentence_of
from parity.explain.ladder import Rung
from parity.explain.spread import NONE
from parity.report.explanation import MIXTURE, SOURCES, TERMS
from parity.report.figures import choice_text, class_text, number_text, steps_text, ulp_text
from parity.report.panels.curve import histogram_of
from parity.report.panels.view import View

COLUMNS = 6

UNITS = (("w", "lr"), ("m", "ULP"), ("v", "ULP"))


@dataclass(frozen=True, slots=True)
class Split:
    """Where the difference of one quantity comes from: rows of a term and a figure for each step."""

    quantity: str
    unit: str
    steps: tuple[int, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    nonfinite: int


@dataclass(frozen=True, slots=True)
class Counted:
    """How many elements are apart by how much: the classes of ULP, and a row of text for each quantity."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def counted(one: Explanation) -> Counted:
    """Over all steps and magnitudes; classes from 0 to the farthest."""
    counts = {spread.quantity: histogram_of(spread) for spread in one.spread}
    classes = sorted({distance for found in counts.values() for distance in found}, key=lambda one: (one == NONE, one))
    return Counted(
        tuple(map(class_text, classes)),
        tuple((quantity, tuple(f"{found.get(each, 0):,}" for each in classes)) for quantity, found in counts.items()),
    )


def chart_text(view: View) -> str:
    """What the chart of a view shows, for those who do not see it."""
    worst = [
        f"{one.label}: at most {ulp_text(int(one.worst_max_ulp.value))} at step {one.worst_max_ulp.step:,}."
        for one in view.distances
        if one.differing
    ]
    first = f"First difference at step {view.curves.first:,}." if view.curves.first else ""
    return " ".join(
        ["Difference by step, on logarithmic axes.", first, *worst, "The tables below have the same figures."]
    )


def splits(one: Explanation) -> Iterator[Split]:
    """For w, m and v; terms of no size are left out."""
    for quantity, unit in UNITS:
        rows = [row for row in one.split if row.quantity == quantity]
        if rows:
            steps = _spread(sorted({row.step for row in rows}))
            yield Split(quantity, unit, steps, tuple(_terms(rows, steps)), rows[-1].nonfinite)


def _terms(rows: Sequence[SplitRow], steps: Sequence[int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    figures = {(row.term, row.step): row.max_steps if row.quantity == "w" else row.max_ulp for row in rows}
    for term, name in TERMS.items():
        shown = [figures.get((term, step)) for step in steps]
        if term == "total" or any(shown):
            yield name, tuple(number_text(figure) for figure in shown)


def _spread(steps: Sequence[int]) -> tuple[int, ...]:
    if len(steps) <= COLUMNS:
        return tuple(steps)
    last = len(steps) - 1
    return tuple(steps[round(place * last / (COLUMNS - 1))] for place in range(COLUMNS))


def rungs(one: Explanation) -> Iterator[tuple[str, str, str, str, str]]:
    """Switched, family, elements that still differ, by at most, w by at most; silent switches are left out."""
    for rung in one.ladder:
        if not rung.choice or rung.changed:
            yield (
                _switched(rung, one.actual.implementation),
                str(rung.family or ""),
                f"{rung.differing:,}",
                ulp_text(rung.max_ulp),
                steps_text(rung.max_steps),
            )


def _switched(rung: Rung, name: str) -> str:
    if not rung.choice:
        return f"nothing: {name} as it is"
    return f"{choice_text(rung.choice)}: {rung.detail}" if rung.detail else choice_text(rung.choice)


def silent(one: Explanation) -> str:
    """Choices that change no bit here."""
    return ", ".join(choice_text(rung.choice) for rung in one.ladder if rung.choice and not rung.changed)


def causes(one: Explanation) -> Iterator[tuple[str, str, str]]:
    """Share, family, what it means."""
    for cause in one.causes:
        yield "" if cause.share is None else percent(cause.share), str(cause.family), sentence_of(cause.family)


def errors(one: Explanation) -> Iterator[tuple[ErrorRow, str]]:
    """Both errors after the last step, and who is nearer to the truth."""
    last = max((row.step for row in one.errors), default=0)
    for row in one.errors:
        if row.step == last:
            ours, theirs = row.actual_rms_ulp, row.expected_rms_ulp
            yield row, "same" if ours == theirs else "A" if ours < theirs else "B"


def proof(told: Told) -> str:
    """What a side was taken for, and what its twin leaves."""
    twin = SOURCES[told.source].format(like=told.like) if told.like or told.source != "found" else MIXTURE
    compared = sum(one.compared for one in told.residual.differences)
    return f"{twin}: {told.residual.differing:,} of {compared:,} elements differ"


def matters(one: Explanation) -> str:
    """Does it matter, beside the noise floor."""
    meaning = one.meaning
    told = (
        f"w differs by {steps_text(meaning.largest)} at most (step {meaning.step:,}), "
        f"by {steps_text(meaning.last)} after the last step."
    )
    if meaning.ratio is None:
        return told
    return (
        f"{told} That is {number_text(meaning.ratio)} times the noise floor of {steps_text(meaning.noise)}: what a "
        "change of every initial weight, or of every first gradient, by 1 ULP makes of the weights by the same step."
    )
