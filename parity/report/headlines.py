"""From one Adam to another, choice by choice: a section of report.md."""

from __future__ import annotations

from parity.explain.explanation import Explanation
from parity.explain.headlines import Headlines
from parity.explain.ladder import Rung
from parity.report.figures import choice_text, number_text, steps_text, ulp_text
from parity.report.markup import escape, table

MEANING = """\
For every pair of two that stand for their frameworks, the case in which their weights part most, of those in which
every differing bit is accounted for. The **noise floor** is what a change of every initial weight, or of every first
gradient, by 1 ULP makes of the weights by the same step: a difference of that size is what rounding may do to any
training."""

LADDERS = """\
A **ladder** goes from the first Adam to the second: one choice after another is made as the second makes it, each on
its own way through all steps, and what still differs from the recorded second one is counted, over w, m and v (and
vmax) of every step. The last rung leaves 0 elements: nothing is left to explain."""


def section(headlines: Headlines) -> str:
    """What the headline pairs come to, then some ladders, folded; empty where there are no such pairs."""
    if not headlines.worst:
        return ""
    parts = ["### From one Adam to another", MEANING, _meanings(headlines.worst)]
    if headlines.ladders:
        parts += [LADDERS, *(_ladder(one) for one in headlines.ladders)]
    return "\n\n".join(parts)


def _meanings(worst: tuple[Explanation, ...]) -> str:
    dtypes = list(dict.fromkeys(one.dtype for one in worst))
    rows: dict[str, dict[str, str]] = {}
    for one in worst:
        rows.setdefault(_pair(one, "<br>"), {})[one.dtype] = _meaning(one)
    return table(["pair", *dtypes], [[pair, *(row.get(dtype, "") for dtype in dtypes)] for pair, row in rows.items()])


def _pair(one: Explanation, between: str) -> str:
    return f"{escape(one.actual.implementation)}{between}{escape(one.expected.implementation)}"


def _meaning(one: Explanation) -> str:
    floor = "" if one.meaning.ratio is None else f", noise floor {steps_text(one.meaning.noise)}"
    return f"{steps_text(one.meaning.largest)}{floor}<br>in {escape(one.case)}"


def _difference(one: Explanation) -> str:
    meaning = one.meaning
    told = f"{steps_text(meaning.largest)} at step {meaning.step:,}"
    if meaning.ratio is None:
        return told
    return f"{told}, which is {number_text(meaning.ratio)} times the noise floor of {steps_text(meaning.noise)}"


def _ladder(one: Explanation) -> str:
    head = f"{_pair(one, ' to ')} in {one.dtype}, {escape(one.case)}"
    silent = ", ".join(choice_text(rung.choice) for rung in one.ladder if rung.choice and not rung.changed)
    rows = [_rung(rung, one.actual.implementation) for rung in one.ladder if not rung.choice or rung.changed]
    parts = [
        f"<details><summary>{head}: {steps_text(one.meaning.largest)}</summary>",
        f"{escape(one.sentence[:1].upper() + one.sentence[1:])}. w differs by up to {_difference(one)}.",
        table(["switched", "family", "still differ", "by at most", "w by at most"], rows),
        f"Changes no bit here: {silent}." if silent else "",
        "</details>",
    ]
    return "\n\n".join(filter(None, parts))


def _rung(rung: Rung, name: str) -> list[str]:
    detail = f": {escape(rung.detail)}" if rung.detail else ""
    return [
        f"{choice_text(rung.choice)}{detail}" if rung.choice else f"nothing: {escape(name)} as it is",
        str(rung.family or ""),
        f"{rung.differing:,}",
        ulp_text(rung.max_ulp),
        steps_text(rung.max_steps),
    ]
