"""What became of a baseline, on a terminal, in Markdown and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from parity.baseline.check import Checked
from parity.baseline.document import Document, head
from parity.baseline.drift import Change, Drift, FateT, Group, Status, grouped
from parity.baseline.store import Baseline
from parity.comparison.divergence import Measured
from parity.core.environment import Difference
from parity.report import markup
from parity.report.figures import steps_text, ulp_text, value_text
from parity.report.markup import on_screen

STYLES = {
    Status.IDENTICAL: "green",
    Status.CHANGED: "yellow",
    Status.INPUTS_CHANGED: "magenta",
    Status.MISSING: "red",
    Status.UNUSED: "dim",
    Status.FAILED: "red",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """How the two sides are called. same: said where their environments do not differ."""

    title: str
    before: str
    after: str
    same: str


BASELINE = Wording("Adam against the baseline", "baseline", "now", "The environment is that of the baseline.")

REASONS = 3
"""That are told of a group, and cases that are named."""

WORST_ROWS = 6
"""Rows of a change's divergence table that a terminal shows, largest first."""


def drift_summary(checked: Checked) -> str:
    """One line: how many entries by what became of them, and how much was compared."""
    return f"{tally(checked)}; {checked.compared:,} digests of steps compared"


def tally(checked: Checked) -> str:
    """How many of each status."""
    return ", ".join(f"{count:,} {status}" for status, count in checked.counts.items()) or "nothing held"


def drift_table(drifts: Sequence[Drift]) -> Table:
    """One row per entry."""
    table = Table(title=f"{len(drifts):,} entries", title_justify="left")
    for column in ("case", "dtype", "implementation", "status"):
        table.add_column(column, overflow="fold")
    table.add_column("what", overflow="fold", ratio=1)
    for one in drifts:
        told = (one.case, one.dtype, one.implementation, _styled(one.status), on_screen(one.detail))
        table.add_row(*told)
    return table


def group_table(groups: Sequence[Group[Drift]]) -> Table:
    """One row for entries of one implementation and dtype with the same fate."""
    table = Table(title=f"{sum(len(one.drifts) for one in groups):,} entries to look at", title_justify="left")
    for column in ("implementation", "dtype", "status", "cases"):
        table.add_column(column, overflow="fold", justify="right" if column == "cases" else "left")
    table.add_column("what", overflow="fold", ratio=1)
    for one in groups:
        cases = f"{len(one.drifts):,} of {one.of:,}"
        table.add_row(on_screen(one.implementation), one.dtype, _styled(one.status), cases, on_screen(group_text(one)))
    return table


def group_text(group: Group[FateT]) -> str:
    """The farthest entry of a group, and what is said of all of them."""
    reasons = [text if count == len(group.drifts) else f"{text} ({count:,})" for text, count in group.reasons]
    more = f"; and {len(reasons) - REASONS:,} other reasons" if len(reasons) > REASONS else ""
    told = "; ".join(reasons[:REASONS]) + more
    cases = ", ".join(one.case for one in group.drifts[:REASONS])
    others = f" and {len(group.drifts) - REASONS:,} more" if len(group.drifts) > REASONS else ""
    worst = group.worst
    if worst.change is None:
        return f"{cases}{others}: {told}"
    ulp, lr = worst.change.weights
    size = f"; most in {worst.case}, w by {ulp_text(ulp)} = {steps_text(lr)} in the kept steps" if ulp else ""
    return f"{cases}{others}, from step {group.first_step}{size}; {told}"


def _styled(status: Status) -> str:
    return f"[{STYLES[status]}]{status}[/]"


def change_table(one: Drift, change: Change) -> Table:
    """The kept steps in which old and new differ most, by quantity and parameter."""
    table = Table(title=f"{one.case} {one.dtype}, {one.implementation}: new against old", title_justify="left")
    for column in ("quantity", "parameter", "step", "differing", "max ulp", "in lr", "new", "old"):
        table.add_column(column, justify="left" if column in ("quantity", "parameter") else "right")
    for row in change_rows(change):
        table.add_row(*map(on_screen, row))
    return table


def change_rows(change: Change) -> Iterator[tuple[str, ...]]:
    """Quantity, place, step, how many differ, by how many ULP, in lr, both values."""
    for measured in change.worst[:WORST_ROWS]:
        metrics = measured.metrics
        new, old = measured.actual_values[0], measured.expected_values[0]
        yield (
            measured.quantity,
            f"{measured.parameter}[{metrics.worst_index[0]}]",
            f"{measured.steps[0]:,}",
            f"{metrics.differing[0]:,} of {metrics.elements[0]:,}",
            ulp_text(int(metrics.max_ulp[0])),
            steps_text(float(measured.max_steps[0])) if measured.quantity == "w" else "",
            value_text(new) if new else "",
            value_text(old) if old else "",
        )


def environment_table(found: Sequence[Difference], wording: Wording = BASELINE) -> Table:
    """What differs between two environments."""
    table = Table(title="environment", title_justify="left")
    for column in ("", wording.before, wording.after):
        table.add_column(column, overflow="fold")
    for one in found:
        table.add_row(on_screen(one.what), on_screen(one.before), on_screen(one.after))
    return table


def drift_text(one: Drift, where: str) -> str:
    """What became of an entry, as text for the assertion of a test. where: the baseline it was held against."""
    return "\n".join(_lines(one, where))


def _lines(one: Drift, where: str) -> Iterator[str]:
    yield f"baseline {one.status}: {one.implementation} on {one.case} in {one.dtype}"
    yield f"baseline   {where}"
    yield f"what       {one.detail}"
    for measured in one.change.worst[:WORST_ROWS] if one.change is not None else ():
        metrics = measured.metrics
        place = f"{measured.quantity} of {measured.parameter}[{metrics.worst_index[0]}], step {measured.steps[0]:,}"
        in_lr = f", {steps_text(float(measured.max_steps[0]))}" if measured.quantity == "w" else ""
        yield f"differs    {place}: {ulp_text(int(metrics.max_ulp[0]))}{in_lr}"
        for side, values in (("new", measured.actual_values), ("old", measured.expected_values)):
            if values[0] is not None:
                yield f"  {side}      {value_text(values[0])}"
    for each in one.environment:
        yield f"environment {each.what}: {each.before} in the baseline, {each.after} now"


def baselines_table(baselines: Sequence[Baseline]) -> Table:
    """Every baseline with its environment and its size."""
    table = Table(title=f"{len(baselines)} baseline(s)", title_justify="left")
    for column in ("baseline", "environment", "cells", "entries", "size"):
        table.add_column(column, overflow="fold", justify="right" if column in ("cells", "entries", "size") else "left")
    for one in baselines:
        told = describe(one)
        packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items())
        environment = f"Python {told['python']}, {told['processor']}; {packages}"
        size = size_text(told["bytes"])
        table.add_row(told["name"], on_screen(environment), f"{told['cells']:,}", f"{told['entries']:,}", size)
    return table


def saved_line(one: Baseline) -> str:
    """How much a baseline holds."""
    entries = sum(1 for _ in one.places())
    return f"{entries:,} entries in {len(one.cells):,} cells"


def size_text(size: int) -> str:
    """Bytes in decimal units."""
    return f"{size / 1e6:.2f} MB" if size >= 1_000_000 else f"{size / 1e3:.1f} kB"


def describe(one: Baseline) -> dict[str, Any]:
    """A baseline as JSON values."""
    environment = one.environments[0]
    return {
        "name": one.name,
        "parity": one.version,
        "python": environment["python"],
        "processor": environment["processor"],
        "packages": environment["packages"],
        "cells": len(one.cells),
        "entries": sum(1 for _ in one.places()),
        "bytes": one.size,
    }


def markdown_lines(checked: Checked, wording: Wording = BASELINE) -> Iterator[str]:
    """A summary for a pull request, or for a CI job's page."""
    yield f"### {wording.title}: {tally(checked)}"
    yield ""
    if checked.environment:
        yield f"| environment | {wording.before} | {wording.after} |"
        yield "|---|---|---|"
        for one in checked.environment:
            yield f"| {markup.escape(one.what)} | {markup.escape(one.before)} | {markup.escape(one.after)} |"
    else:
        yield wording.same
    groups = grouped(checked.drifts)
    if groups:
        yield ""
        yield "| implementation | dtype | status | cases | what |"
        yield "|---|---|---|---|---|"
        for each in groups:
            cases = f"{len(each.drifts):,} of {each.of:,}"
            told = (each.implementation, each.dtype, each.status, cases, group_text(each))
            yield "| " + " | ".join(map(markup.escape, told)) + " |"
    yield ""
    yield f"{checked.compared:,} digests of steps were compared. Exit code {checked.exit_code}."


def drift_tables(checked: Checked, wording: Wording, *, verbose: bool) -> Iterator[RenderableType]:
    """All that a terminal shows above the last line: entries, the farthest changes, environments.

    verbose: every entry and every change, not groups of them.
    """
    groups = grouped(checked.drifts)
    if groups:
        yield group_table(groups)
    if verbose:
        yield drift_table(checked.drifts)
    for one in checked.drifts if verbose else [group.worst for group in groups]:
        if one.change is not None and one.change.worst:
            yield change_table(one, one.change)
    if checked.environment:
        yield environment_table(checked.environment, wording)
    else:
        yield f"[dim]{wording.same}[/dim]"


def checked_to_json(checked: Checked) -> dict[str, Any]:
    """What ``--json`` of ``parity baseline check`` and ``diff`` writes."""
    return {**head(Document.BASELINE, checked.command), **held_to_json(checked)}


def held_to_json(checked: Checked) -> dict[str, Any]:
    """The same as a part of a document."""
    return {
        "baseline": checked.baseline.name,
        "recorded": recorded_to_json(checked.baseline),
        "exit_code": checked.exit_code,
        "compared": checked.compared,
        "counts": {str(status): checked.counts.get(status, 0) for status in Status},
        "environment": [_difference(one) for one in checked.environment],
        "entries": [drift_to_json(one) for one in checked.drifts],
    }


def drift_to_json(one: Drift) -> dict[str, Any]:
    """One entry as JSON values; the divergence table of a change in full."""
    change = one.change
    return {
        "case": one.case,
        "dtype": one.dtype,
        "implementation": one.implementation,
        "status": str(one.status),
        "detail": one.detail,
        "compared": one.compared,
        "environment": [_difference(each) for each in one.environment],
        "change": None
        if change is None
        else {
            "first_step": change.first_step,
            "quantities": list(change.quantities),
            "sentence": change.sentence,
            "explained": change.explained,
            "causes": [{"family": cause.family, "detail": cause.detail} for cause in change.causes],
            "divergence": [_measured(each) for each in change.measured],
        },
    }


def recorded_to_json(one: Baseline) -> dict[str, Any]:
    """How much was recorded, and where."""
    facts = one.environments[0]
    return {"cells": len(one.cells), **{name: facts[name] for name in ("python", "platform", "processor")}}


def _difference(one: Difference) -> dict[str, str]:
    return {"what": one.what, "before": one.before, "after": one.after}


def _measured(one: Measured) -> dict[str, Any]:
    metrics = one.metrics
    return {
        "quantity": one.quantity,
        "parameter": one.parameter,
        "step": int(one.steps[0]),
        "elements": int(metrics.elements[0]),
        "differing": int(metrics.differing[0]),
        "max_abs": float(metrics.max_abs[0]).hex(),
        "max_ulp": int(metrics.max_ulp[0]),
        "max_steps": float(one.max_steps[0]).hex() if one.quantity == "w" else None,
        "worst_index": int(metrics.worst_index[0]),
        "actual_value": one.actual_values[0],
        "expected_value": one.expected_values[0],
    }
