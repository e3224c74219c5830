"""Two runs side by side, in a sentence, in Markdown and as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from parity.core.environment import Difference
from parity.engine.record import Run
from parity.numerics.ulp import NO_DISTANCE
from parity.report.figures import steps_text, ulp_text
from parity.report.markup import escape, table
from parity.report.panels.side_by_side import Beside, Course, Group, Only, SideBySide, Standing

SIDES = ("A", "B")

MOST_ROWS = 20
"""Cases of a group that are shown; all of them stand in the JSON."""

MOST_GROUPS = 200

NAMES = 8

MARKS = {Course.FARTHER: "▲", Course.NEARER: "▼", Course.OTHER: "~", Course.SAME: "="}

HOW_TO_READ = """\
A view of two records, not a verdict: **A** is the run that was named first, **B** the second. One **ULP** is the
distance from a floating-point number to its neighbour in the stored dtype; **lr** is the unit of one full optimizer
step. Figures are those of the weights, at the worst of all steps. ▲ farther apart in B, ▼ nearer, ~ other figures, =
the same figures. *Bits*: the side of the pair whose last state is not the same in both runs."""


def sentence(found: SideBySide) -> str:
    """The answer: how much both have, and how much of it changed."""
    orbits, moved = found.ended
    if found.same:
        return f"Both runs are the same: {_all_same(found)}, and all {orbits:,} orbits end in the same bits"
    stand = "stands" if found.held == 1 else "stand"
    parts = [f"{found.held:,} of {_count(found.asked, 'pair')} {stand} in both runs with the same inputs"]
    if found.rows:
        parts.append("; ".join(_changes(found)))
    else:
        parts.append(_all_same(found))
    ended = f"{moved:,} of {orbits:,} orbits end in other" if moved else f"all {orbits:,} orbits end in the same"
    return f"{': '.join(parts)}. Of the last states, {ended} bits"


def _changes(found: SideBySide) -> Iterator[str]:
    if found.judged_otherwise:
        yield f"{_count(found.judged_otherwise, 'verdict')} changed"
    farther, nearer, other = (found.count(one) for one in (Course.FARTHER, Course.NEARER, Course.OTHER))
    if farther:
        yield f"{_count(farther, 'pair')} got farther apart{f', {nearer:,} nearer' if nearer else ''}"
    elif nearer:
        yield f"{_count(nearer, 'pair')} got nearer"
    if other:
        yield f"{_count(other, 'pair')} {_have(other)} other figures"
    if found.other_causes:
        yield f"{_count(found.other_causes, 'pair')} {_have(found.other_causes)} other causes for the same figures"
    same = found.count(Course.SAME)
    if same:
        yield f"{same:,} {_have(same)} the same figures"


def _all_same(found: SideBySide) -> str:
    if found.held == 1:
        return "the pair has the same verdict and figures"
    return f"all {found.held:,} pairs have the same verdicts and figures"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def warnings(found: SideBySide) -> Iterator[str]:
    """What has to be known of either run before its figures are read."""
    for side, run in zip(SIDES, (found.before, found.after), strict=True):
        counts = run.counts
        if not run.complete:
            stopped = run.stopped or "incomplete"
            yield f"Run {side} is not complete ({stopped}): {counts.cells} of {counts.cells_planned} cells were run."
        if not counts.elements:
            yield f"In run {side} nothing was compared."
        for line in run.stale:
            yield f"Run {side} has a stale expectation: {line}"


def run_rows(found: SideBySide) -> Iterator[tuple[str, str, str]]:
    """What each run is."""
    for name, told in (
        ("parity", lambda run: run.version),
        ("verdicts as expected", lambda run: f"{run.counts.as_expected:,} of {run.counts.pairs:,}"),
        ("cells", lambda run: f"{run.counts.cells:,} of {run.counts.cells_planned:,}"),
        ("elements compared", lambda run: f"{run.counts.elements:,}"),
        ("exit code", lambda run: str(run.exit_code)),
    ):
        yield name, told(found.before), told(found.after)


def group_text(group: Group) -> str:
    """What became of a pair in one dtype."""
    parts = [f"{_count(group.judged_otherwise, 'verdict')} changed"] if group.judged_otherwise else []
    parts += [f"{group.count(one):,} {one}" for one in Course if one is not Course.SAME and group.count(one)]
    return f"{len(group.rows):,} of {_count(group.of, 'case')}: {', '.join(parts) or 'other causes'}"


def verdict_text(one: Standing) -> str:
    """A verdict, and whether it is not as expected."""
    return str(one.verdict.kind) if one.verdict.as_expected else f"{one.verdict.kind}, not as expected"


def ulp_of(one: Standing) -> str:
    """How far the weights are apart in ULP; empty where nothing was compared."""
    return ulp_text(one.ulp).removesuffix(" ULP") if one.compared else ""


def lr_of(one: Standing) -> str:
    """How far they are apart in units of lr."""
    if not one.compared:
        return ""
    return steps_text(one.lr).removesuffix(" lr") if math.isfinite(one.lr) and one.ulp != NO_DISTANCE else "NaN/inf"


def first_of(one: Standing) -> str:
    """The first step with a difference."""
    return "" if not one.compared else "never" if one.first is None else f"{one.first:,}"


def causes_of(one: Standing) -> str:
    """Families of causes."""
    if one.why is None:
        return "not explained" if one.compared else ""
    return ", ".join(one.families) or one.why.answer


def moved_text(one: Beside) -> str:
    """The sides that end in other bits."""
    return " and ".join(one.moved) or "neither"


def names_text(names: Sequence[str], most: int = NAMES) -> str:
    """Names, the first of many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def only_lines(side: str, only: Only) -> Iterator[str]:
    """What only one run has, as sentences."""
    for what, names in (
        ("implementations", only.implementations), ("cases", only.cases), ("dtypes", only.dtypes),
    ):  # fmt: skip
        if names:
            yield f"Only {side} has the {what} {names_text(names, 3 * NAMES)}."
    if only.count:
        yield f"{_count(only.count, 'pair')} {'stands' if only.count == 1 else 'stand'} only in {side}."


def render_side_by_side(found: SideBySide) -> str:
    """comparison.md."""
    sections = [
        f"# Two runs side by side\n\n{_head(found)}",
        _groups(found),
        _orbits(found),
        _other_inputs(found),
        _only(found),
        _environment(found),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(found: SideBySide) -> str:
    banners = [f"> **{escape(line)}**" for line in warnings(found)]
    facts = table(["", *SIDES], [list(map(escape, row)) for row in run_rows(found)])
    return "\n\n".join([*banners, f"**{sentence(found)}.**", facts, HOW_TO_READ])


def _groups(found: SideBySide) -> str:
    if not found.groups:
        return ""
    more = len(found.groups) - MOST_GROUPS
    parts = ["## What changed", *map(_group, found.groups[:MOST_GROUPS])]
    return "\n\n".join([*parts, f"And {more:,} more pairs and dtypes, in the JSON."] if more > 0 else parts)


def _group(group: Group) -> str:
    head = ["case", "", "verdict A", "verdict B", "w in ULP A", "w in ULP B", "w in lr A", "w in lr B", "first step A",
            "first step B",
            "causes A", "causes B", "bits"]  # fmt: skip
    rows = [[escape(text) for text in row_texts(one)] for one in group.rows[:MOST_ROWS]]
    more = len(group.rows) - MOST_ROWS
    tail = f"\n\nAnd {more:,} more cases, in the JSON." if more > 0 else ""
    title = f"### {escape(group.actual)} / {escape(group.expected)}, {group.dtype}"
    return f"{title}\n\n{group_text(group)}.\n\n{table(head, rows)}{tail}"


def row_texts(one: Beside) -> list[str]:
    """Case, mark, then figures of both sides in adjacent columns."""
    both = (one.before, one.after)
    told = [text(side) for text in (verdict_text, ulp_of, lr_of, first_of, causes_of) for side in both]
    return [one.case, MARKS[one.course], *told, moved_text(one)]


def _orbits(found: SideBySide) -> str:
    rows = [
        [escape(one.implementation), one.dtype, f"{len(one.moved):,} of {one.cases:,}", escape(names_text(one.moved))]
        for one in found.orbits
        if one.moved
    ]
    if not rows:
        return ""
    return f"## Orbits that end in other bits\n\n{table(['implementation', 'dtype', 'cases', 'which'], rows)}"


def _other_inputs(found: SideBySide) -> str:
    if not found.other_inputs:
        return ""
    rows = [[escape(one.case), one.dtype, escape(one.what), f"{one.pairs:,}"] for one in found.other_inputs]
    told = "Nothing is said of these: they were not asked the same in both runs."
    return f"## Other inputs\n\n{told}\n\n{table(['case', 'dtype', 'what differs', 'pairs'], rows)}"


def _only(found: SideBySide) -> str:
    parts = []
    for side, only in zip(SIDES, found.only, strict=True):
        parts += [f"- {escape(line)}" for line in only_lines(side, only)]
    return "## Only in one\n\n" + "\n".join(parts) if parts else ""


def _environment(found: SideBySide) -> str:
    parts = ["## Environment"]
    if found.environment:
        parts.append(_differences(found.environment))
    else:
        parts.append("Nothing differs between the environments.")
    for one in found.processes:
        parts.append(f"Processes {escape(names_text(one.names))}:\n\n{_differences(one.differences)}")
    return "\n\n".join(parts)


def _differences(found: Iterable[Difference]) -> str:
    return table(["", *SIDES], [[escape(one.what), escape(one.before), escape(one.after)] for one in found])


def side_by_side_to_json(found: SideBySide) -> dict[str, Any]:
    """What ``--json`` of ``parity report A B`` writes; figures that are inf come as text."""
    orbits, moved = found.ended
    return {
        "sentence": sentence(found),
        "same": found.same,
        "warnings": list(warnings(found)),
        "runs": {side: _run(run) for side, run in zip(SIDES, (found.before, found.after), strict=True)},
        "counts": {
            "pairs": found.asked,
            "in_both": found.held,
            "verdicts_changed": found.judged_otherwise,
            "other_causes": found.other_causes,
            "orbits": orbits,
            "orbits_moved": moved,
            **{one.name.lower(): found.count(one) for one in Course},
        },
        "changes": [_row(one) for one in found.rows],
        "orbits": [
            {"implementation": one.implementation, "dtype": one.dtype, "cases": one.cases, "moved": list(one.moved)}
            for one in found.orbits
        ],
        "other_inputs": [
            {"case": one.case, "dtype": one.dtype, "what": one.what, "pairs": one.pairs} for one in found.other_inputs
        ],
        "only": {side: _only_to_json(only) for side, only in zip(SIDES, found.only, strict=True)},
        "environment": [_difference(one) for one in found.environment],
        "processes": [
            {"names": list(one.names), "differences": [_difference(each) for each in one.differences]}
            for one in found.processes
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    counts = run.counts
    return {
        "parity": run.version,
        "complete": run.complete,
        "stopped": run.stopped,
        "exit_code": run.exit_code,
        "pairs": counts.pairs,
        "as_expected": counts.as_expected,
        "cells": counts.cells,
        "cells_planned": counts.cells_planned,
        "elements": counts.elements,
    }


def _row(one: Beside) -> dict[str, Any]:
    return {
        "case": one.case,
        "dtype": one.dtype,
        "actual": one.actual,
        "expected": one.expected,
        "change": str(one.course),
        "verdict_changed": one.judged_otherwise,
        "moved": list(one.moved),
        **{side: _standing(each) for side, each in zip(SIDES, (one.before, one.after), strict=True)},
    }


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "verdict": str(one.verdict.kind),
        "as_expected": one.verdict.as_expected,
        "reason": one.verdict.reason,
        "first_step": one.first,
        "max_ulp": one.ulp,
        "max_lr": one.lr if math.isfinite(one.lr) else str(one.lr),
        "causes": None if one.why is None else list(one.families),
    }


def _only_to_json(only: Only) -> dict[str, Any]:
    return {
        "cases": list(only.cases),
        "implementations": list(only.implementations),
        "dtypes": list(only.dtypes),
        "pairs": [
            {"actual": actual, "expected": expected, "dtype": dtype, "cases": list(cases)}
            for (actual, expected, dtype), cases in only.pairs.items()
        ],
    }


def _difference(one: Difference) -> dict[str, str]:
    return {"what": one.what, **dict(zip(SIDES, (one.before, one.after), strict=True))}
