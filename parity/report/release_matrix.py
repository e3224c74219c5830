"""Implementations by releases, on a terminal, in Markdown and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from parity.baseline.document import Document, head
from parity.baseline.drift import GREEN, Drift, Group, Status, grouped
from parity.baseline.upgrade import Column, ReleaseMatrix
from parity.report import markup
from parity.report.drift import group_text
from parity.report.markup import on_screen
from parity.report.upgrade import recorded_text, upgraded_to_json


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
