"""What an upgrade, several releases and a bisection came to: in words, in Markdown and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from parity.baseline.bisection import Answer, Bisected, Decision
from parity.baseline.document import Document, head
from parity.baseline.drift import GREEN, Drift, Group, Status, grouped
from parity.baseline.side import Side
from parity.baseline.upgrade import Column, ReleaseMatrix, Upgraded
from parity.report import markup
from parity.report.drift import Wording, group_text, held_to_json, markdown_lines, recorded_to_json, tally
from parity.report.markup import escape, on_screen

WORDING = Wording("Adam before and after the upgrade", "before", "after", "Nothing differs between the environments.")


def upgrade_to_json(found: Upgraded) -> dict[str, Any]:
    """What ``--json`` of ``parity upgrade`` writes."""
    return {**head(Document.UPGRADE, found.command), **upgraded_to_json(found)}


def upgraded_to_json(found: Upgraded) -> dict[str, Any]:
    """The same as a part of a document."""
    return {
        **held_to_json(found.checked),
        "before": side_to_json(found.before),
        "after": side_to_json(found.after),
    }


def side_to_json(side: Side) -> dict[str, Any]:
    """A side as JSON values."""
    return {
        "name": side.name,
        "baseline": str(side.baseline.folder),
        "recorded": recorded_to_json(side.baseline),
        "packages": dict(side.packages),
        "variables": dict(side.variables),
        "notes": list(side.notes),
        "cannot_run": {name: list(lacks) for name, lacks in side.unmet.items() if lacks},
    }


def notes_of(found: Upgraded) -> tuple[str, ...]:
    """A line for every pin that stands although others ask for another release, and one where both sides are one."""
    sides = ((WORDING.before, found.before), (WORDING.after, found.after))
    told = tuple(f"{name}: {note}" for name, side in sides for note in side.notes)
    same = found.before.name == found.after.name and not found.checked.environment
    return (*told, f"both sides are the same: {found.before.name}") if same else told


def upgrade_summary(found: Upgraded) -> str:
    """One line: how many entries by what became of them, and how much was compared."""
    checked = found.checked
    sides = f"{found.before.name} against {found.after.name}"
    return f"{tally(checked)}; {checked.compared:,} digests compared, {sides}"


def upgrade_lines(found: Upgraded) -> Iterator[str]:
    """A summary for a pull request, or for a CI job's page."""
    lines = markdown_lines(found.checked, WORDING)
    yield next(lines)
    yield ""
    yield f"- before: {escape(found.before.name)}"
    yield f"- after: {escape(found.after.name)}"
    yield f"- recorded: {escape(recorded_text(found.after))}"
    for note in notes_of(found):
        yield f"- {escape(note)}"
    yield from lines


def recorded_text(side: Side) -> str:
    """Where a side was recorded, and how much of it."""
    environment = side.baseline.environments[0]
    cells = f"{len(side.baseline.cells):,} cells (case x dtype)"
    return f"{cells} on Python {environment['python']}, {environment['platform']}, {environment['processor']}"


def matrix_to_json(found: ReleaseMatrix) -> dict[str, Any]:
    """What ``--json`` of ``parity matrix`` writes."""
    return {
        **head(Document.MATRIX, found.command),
        "package": found.package,
        "reference": found.reference,
        "exit_code": found.exit_code,
        "compared": found.compared,
        "order": [one.release for one in found.columns],
        "releases": {
            one.release: {
                "why": one.why,
                "counts": {
                    name: {str(status): count for status, count in one.counted(name).items()}
                    for name in found.implementations
                },
                "held": None if one.held is None else upgraded_to_json(one.held),
            }
            for one in found.columns
        },
    }


def matrix_table(found: ReleaseMatrix) -> Table:
    """A row for every implementation, a column for every release."""
    table = Table(title=f"{found.package} against {found.reference}", title_justify="left")
    table.add_column("implementation", overflow="fold")
    for column in found.columns:
        table.add_column(column.release, overflow="fold")
    for name in found.implementations:
        cells = [(cell_text(column, name), is_same(column, name)) for column in found.columns]
        table.add_row(
            on_screen(name), *(f"[{'green' if same else 'yellow'}]{on_screen(text)}[/]" for text, same in cells)
        )
    return table


def matrix_lines(found: ReleaseMatrix) -> Iterator[str]:
    """A summary for a pull request, or for a CI job's page."""
    yield f"### Releases of {markup.escape(found.package)} against {markup.escape(found.reference)}"
    yield ""
    rows = [
        [markup.escape(name), *(markup.escape(cell_text(column, name)) for column in found.columns)]
        for name in found.implementations
    ]
    yield markup.table(["implementation", *(column.release for column in found.columns)], rows)
    yield ""
    for told in remarks(found):
        yield f"- {markup.escape(told)}"
    for text in dict.fromkeys(recorded_text(one.held.before) for one in found.columns if one.held is not None):
        yield f"- recorded: {markup.escape(text)}"
    yield ""
    yield f"{found.compared:,} digests of steps were compared. Exit code {found.exit_code}."


def cell_text(column: Column, implementation: str) -> str:
    """How many entries by what became of them; a dash where there is nothing of the release."""
    counted = column.counted(implementation)
    return ", ".join(f"{counted[status]:,} {status}" for status in Status if counted.get(status)) or "-"


def is_same(column: Column, implementation: str) -> bool:
    """Whether all entries there are stayed the same."""
    counted = column.counted(implementation)
    return bool(counted) and counted.keys() <= GREEN


def remarks(found: ReleaseMatrix) -> Iterator[str]:
    """A line for every release of which there is nothing, for pins that stood, and for what is not the same.

    Releases of which the same is said share a line.
    """
    lines: dict[str, list[str]] = {}
    for column in found.columns:
        if column.held is None:
            said = [column.why]
        else:
            groups = [one for one in grouped(column.held.checked.drifts) if one.status not in GREEN]
            said = [*column.held.before.notes, *map(_said, groups)]
        for line in said:
            lines.setdefault(line, []).append(column.release)
    for line, releases in lines.items():
        yield f"{', '.join(releases)}: {line}"


def _said(group: Group[Drift]) -> str:
    fate = f"{len(group.drifts):,} of {group.of:,} {group.status}"
    return f"{group.implementation} in {group.dtype}: {fate}: {group_text(group)}"


def matrix_summary(found: ReleaseMatrix) -> str:
    """The answer in one line."""
    same = sum(
        column.held is not None and all(is_same(column, name) for name in found.implementations)
        for column in found.columns
    )
    return (
        f"{same} of {len(found.columns)} releases of {found.package} are the same as {found.reference}; "
        f"{found.compared:,} digests compared"
    )


def bisected_to_json(found: Bisected) -> dict[str, Any]:
    """What ``--json`` of ``parity bisect`` writes."""
    return {
        **head(Document.BISECT, found.command),
        "package": found.asked.package,
        "releases": list(found.releases),
        "decisions": [decision_to_json(one) for one in found.decisions],
        "last_same": found.suspects.last,
        "first_changed": found.first,
        "suspects": list(found.suspects.releases),
        "step": None if found.step is None else upgraded_to_json(found.step),
        "exit_code": found.exit_code,
    }


def decision_to_json(one: Decision) -> dict[str, str]:
    """A decision as JSON values."""
    return {"release": one.release, "answer": str(one.answer), "why": one.why}


def decision_line(one: Decision) -> str:
    """A decision in a line."""
    return f"{one.release}: {one.answer} ({one.why})"


def bisected_summary(found: Bisected) -> str:
    """The answer in one line."""
    package, left = found.asked.package, found.suspects
    untold = sum(one.answer is Answer.UNTOLD for one in found.decisions)
    looked = f"{len(found.decisions)} of {len(found.releases)} releases decided, {untold} of them 'cannot tell'"
    if found.first:
        return (
            f"{package} {found.first} is the first release that changes; {left.last} is the last before it ({looked})"
        )
    return (
        f"{package}: one of {', '.join(left.releases)} is the first release that changes, and nobody can tell which; "
        f"{left.last} is the last that is the same ({looked})"
    )
