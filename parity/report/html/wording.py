"""What a page says of a pair, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from parity.case.expectation import Kind
from parity.engine.record import Run
from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.numerics.ulp import NO_DISTANCE
from parity.report.figures import steps_text, ulp_text
from parity.report.panels.panels import Conclusion, InDtype

SYMBOLS = {
    Kind.IDENTICAL: "=",
    Kind.WITHIN: "≈",
    Kind.EXPLAINED: "≈",
    Kind.DIVERGED: "≠",
    Kind.SKIPPED: "–",  # noqa: RUF001
    Kind.CRASHED: "✕",
    Kind.NOT_COMPARABLE: "?",
}

TONES = {"=": "same", "≈": "near", "≠": "other"}

MEANINGS = {
    Kind.IDENTICAL: "every bit of every step is equal",
    Kind.WITHIN: "not equal, and inside the budget that the case states for rounding",
    Kind.EXPLAINED: "not equal, and every differing bit has a named cause",
    Kind.DIVERGED: "further apart than that, or no budget can be stated",
    Kind.SKIPPED: "the framework cannot do what the case asks",
    Kind.CRASHED: "no answer: it ended early",
    Kind.NOT_COMPARABLE: "no answer: nothing can be compared",
}

HEAT_LABELS = ("equal", "to 1e-6 lr", "to 0.001 lr", "to 0.1 lr", "to 1 lr", "above 1 lr, NaN or inf")

CAUSES_SHOWN = 3

BRIDGED = ({"torch", "keras"}, {"torch", "tf_keras"})


def symbol(conclusion: Conclusion) -> str:
    """= the same bits, ≈ the same formula, ≠ another one."""
    found = conclusion.main
    if not found.differing:
        return SYMBOLS[Kind.IDENTICAL]
    return "≠" if found.two_formulas or found.unexplained == found.differing else "≈"


def title(conclusion: Conclusion) -> str:
    """Same or not, in a few words."""
    found = conclusion.main
    if not found.differing:
        return "Identical"
    if found.two_formulas:
        return "Not the same Adam"
    if found.unexplained == found.differing:
        return "Not the same bits"
    return "The same Adam, rounded differently"


def size_sentence(found: InDtype) -> str:
    """By how much, since when."""
    if not found.differing:
        return f"Every bit of every step is equal, in {found.dtype} in all {_cases(found.cases)}."
    told = (
        f"In {found.dtype} they differ in {found.differing} of {_cases(found.cases)}, from step {found.since or 0:,} on"
    )
    if found.typical is None or found.largest is None:
        told += ", and no weight does by a finite number"
    elif found.typical == found.largest:
        told += f": weights by {steps_text(found.largest.lr)} ({found.largest.case})"
    else:
        told += (
            f": weights by {steps_text(found.typical.lr)} in the median case, "
            f"by {steps_text(found.largest.lr)} at most ({found.largest.case})"
        )
    return f"{told}; in {_cases(found.nonfinite)} one side is NaN or inf." if found.nonfinite else f"{told}."


def why_sentence(found: InDtype) -> str:
    """The causes in plain words; empty where nothing differs or nothing was explained."""
    if found.two_formulas:
        return f"Why: {_counted(found)}."
    named = [sentence_of(Family(family)) for family in found.families[:CAUSES_SHOWN]]
    more = len(found.families) - len(named)
    tail = f"; and {more} more" if more > 0 else ""
    return f"Why: {'; '.join(named)}{tail}." if named else ""


def _counted(found: InDtype) -> str:
    """Causes that are more than arithmetic, with the cases of each."""
    return "; ".join(f"{sentence_of(Family(family))} ({_cases(count)})" for family, count in found.other_formula)


def exception_sentence(found: InDtype) -> str:
    """Cases in which a pair of one formula has two; empty where there is none."""
    if not found.formula or found.two_formulas:
        return ""
    return f"Another formula only in {', '.join(found.formula[:CAUSES_SHOWN])}: {_counted(found)}."


def remedy(conclusion: Conclusion) -> str:
    """The setting that makes a pair agree; empty where none is known."""
    found = conclusion.main
    if not found.differing or found.unexplained == found.differing:
        return ""
    told = " ".join(_remedies(conclusion, found))
    if told or found.two_formulas:
        return told or "No setting is known that makes them the same."
    return "Nothing has to be set: what is left is rounding."


def _remedies(conclusion: Conclusion, found: InDtype) -> Iterator[str]:
    families = dict(found.other_formula)
    if Family.EPSILON_PLACEMENT in families:
        yield _placement(conclusion)
    if Family.EPSILON_VALUE in families:
        yield "Set eps on both sides: their defaults are not the same number."
    if Family.AMSGRAD in families:
        yield "Leave AMSGrad out: no setting makes it the same."


def _placement(conclusion: Conclusion) -> str:
    places = dict(zip(conclusion.epsilon, (conclusion.actual, conclusion.expected), strict=True))
    if set(places) != {"hat", "outside"}:
        return "No eps makes them agree for every gradient; the section on epsilon says what is left."
    told = (
        f"To make the formulas agree, give {places['outside']} at step t the eps of {places['hat']} divided by "
        "sqrt(1 - beta2^t), which is exact for every gradient"
    )
    frameworks = {name.partition(".")[0] for name in places.values()}
    bridge = ", or use parity.live.bridge.KerasAdam in torch, parity.live.bridge.TorchAdam in Keras"
    return f"{told}{bridge if frameworks in BRIDGED else ''}."


def apart(ulp: int, lr: float) -> str:
    """How far weights are apart, in both units; in words where no number is meant."""
    return ulp_text(ulp) if ulp == NO_DISTANCE else f"{ulp_text(ulp)}, {steps_text(lr)}"


def median_text(median: float) -> str:
    """What is typical of several cases."""
    return f"median {steps_text(median)}" if math.isfinite(median) else "median NaN/inf"


def places(run: Run, *names: str) -> str:
    """What the filter looks up: where epsilon stands on either side, and whether that is the same."""
    found = [run.conventions[name] for name in names if name in run.conventions]
    related = [] if len(found) < len(names) else ["same" if len(set(found)) == 1 else "other"]
    return " ".join([*related, *dict.fromkeys(found)])


def field_kinds(kinds: Sequence[tuple[Kind, int]]) -> tuple[str, str]:
    """The worst verdict of a field with its number, and the others; one of those that were skipped only if all were."""
    (kind, count), *others = sorted(kinds, key=lambda one: one[0] is Kind.SKIPPED)
    return f"{SYMBOLS[kind]} {count} {kind}", ", ".join(f"{number} {other.lower()}" for other, number in others)


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"
