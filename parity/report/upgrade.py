"""What an upgrade changed, as JSON values and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parity.baseline.document import Document, head
from parity.baseline.side import Side
from parity.baseline.upgrade import Upgraded
from parity.report.drift import Wording, markdown_lines, tally
from parity.report.drift_json import held_to_json, recorded_to_json
from parity.report.markup import escape

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
        "notes": list(side.notes),
        "cannot_run": {name: list(lacks) for name, lacks in side.unmet.items() if lacks},
    }


def notes_of(found: Upgraded) -> tuple[str, ...]:
    """A line for every pin that stands although another package asks for another release."""
    sides = ((WORDING.before, found.before), (WORDING.after, found.after))
    return tuple(f"{name}: {note}" for name, side in sides for note in side.notes)


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
