"""What a page says of changes, in words and rows of text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parity.baseline.bisection import Answer
from parity.baseline.document import Document
from parity.baseline.drift import GREEN, Cause, Status
from parity.explain.causes import Family
from parity.explain.explanation import sentence_of
from parity.numerics.ulp import NO_DISTANCE
from parity.report.changes import MEANINGS, UNTOLD, answer, details, is_fine, moved_text, ranged, status_text, subject
from parity.report.figures import steps_text, ulp_text
from parity.report.html.wording import apart
from parity.report.panels.changes import Block, ChangeField, Changes, weights_of
from parity.report.panels.documents import DivergenceRow, Held, HeldEntry, HeldMatrix, HeldSearch, RecordedFacts

__all__ = ["answer", "details", "is_fine", "subject"]

SYMBOLS = {
    Status.IDENTICAL: "=",
    Status.CHANGED: "≠",
    Status.INPUTS_CHANGED: "?",
    Status.MISSING: "?",
    Status.UNUSED: "–",  # noqa: RUF001
    Status.FAILED: "✕",
}

ANSWERS = {Answer.SAME: "= same", Answer.CHANGED: "≠ changed", Answer.UNTOLD: "? cannot tell"}

QUESTIONS = {
    Document.UPGRADE: "What did the upgrade change?",
    Document.MATRIX: "Which releases are the same?",
    Document.BISECT: "Which release changed it?",
    Document.BASELINE: "Is it still the same?",
}

ROWS = 12
"""Of the divergence table of an entry."""

REASONS = 6
"""That are told of entries of which nothing can be told."""

CASES = 6


@dataclass(frozen=True, slots=True)
class UntoldRow:
    """Entries of one implementation of which nothing can be told. numbers: of their blocks."""

    numbers: tuple[int, ...]
    status: Status
    implementation: str
    dtypes: str
    releases: str
    entries: str
    cases: str
    why: str


def question(changes: Changes) -> str:
    """What a page answers."""
    return QUESTIONS[changes.document.kind]


def title(changes: Changes) -> str:
    """What a document is about, in a report on something else."""
    kinds = {
        Document.UPGRADE: "Upgrade",
        Document.MATRIX: "Releases of",
        Document.BISECT: "Search in",
        Document.BASELINE: "Held against",
    }
    return f"{kinds[changes.document.kind]} {subject(changes)}"


def mark(changes: Changes) -> str:
    """✓ where all is as it was, or what was searched is found."""
    return "✓" if is_fine(changes) else "≠" if changes.changed else "?"


def map_label(changes: Changes) -> str:
    """What the map is."""
    return f"Implementations by {'release' if changes.document.kind is Document.MATRIX else 'dtype'}"


def block_of(changes: Changes, column: str, name: str, field: ChangeField) -> int | None:
    """The number of the block that a field of the map leads to; None where all is identical."""
    if field.worst is None:
        return None
    release = column if changes.document.kind is Document.MATRIX else ""
    return changes.places[release, name, field.worst.dtype, field.worst.status]


def is_untold(field: ChangeField) -> bool:
    """Whether nothing can be told of some entries of a field."""
    return any(status not in GREEN and status is not Status.CHANGED for status, _ in field.counts)


def statuses(field: ChangeField) -> Iterator[tuple[str, str]]:
    """Symbol and words for what became of the entries of a field, what is to be looked at first."""
    ordered = sorted(field.counts, key=lambda one: (one[0] is Status.IDENTICAL, one[0] is Status.UNUSED))
    for (status, _), text in zip(ordered, status_text(ordered, field.entries), strict=True):
        yield SYMBOLS[status], text


def field_figures(field: ChangeField) -> Iterator[str]:
    """What a field says of its entries that changed."""
    changed = dict(field.counts)[Status.CHANGED]
    yield f"from step {field.first or 0:,}"
    yield f"worst {apart(field.ulp, field.lr)}" if field.ulp else moved_text(0, 0.0)
    told = f"{field.explained:,} of {changed:,} explained" if field.explained else "not explained"
    yield told if field.explained < changed else "explained"


def block_title(block: Block) -> str:
    """Whose entries, and of how many something changed."""
    group = block.group
    told = f"{len(group.drifts):,} of {group.of:,} changed"
    return f"{SYMBOLS[group.status]} {group.implementation} in {group.dtype}: {told}"


def block_size(changes: Changes, block: Block) -> str:
    """In which releases, since when, by how much at most, and how much of it is explained."""
    group, worst = block.group, block.group.worst
    assert worst.change is not None
    releases = [releases_text(changes, block.releases)] if block.releases else []
    most = f" in {worst.case}" if worst.change.weights[0] else ""
    explained = sum(one.change is not None and one.change.explained for one in group.drifts)
    told = f"{explained:,} of {len(group.drifts):,} explained" if explained else "not explained"
    told = "explained" if explained == len(group.drifts) else told
    return "; ".join([*releases, f"from step {group.first_step:,}", moved_text(*worst.change.weights) + most, told])


def releases_text(changes: Changes, releases: Sequence[str]) -> str:
    """Releases of a matrix."""
    content = changes.document.content
    return ranged(releases, content.order) if isinstance(content, HeldMatrix) and releases else ""


def entries(block: Block) -> Sequence[HeldEntry]:
    """The farthest first."""
    return sorted(block.group.drifts, key=weights_of, reverse=True)


def entry_line(entry: HeldEntry) -> str:
    """How an entry changed, in a line."""
    assert entry.change is not None
    change = entry.change
    told = "explained" if change.explained else "not every bit explained"
    return f"from step {change.first_step:,} in {', '.join(change.quantities)}; {moved_text(*change.weights)}; {told}"


def causes(entry: HeldEntry) -> Iterator[tuple[Cause, str]]:
    """What changed, with what that means where it is known."""
    for cause in entry.change.causes if entry.change is not None else ():
        yield cause, sentence_of(Family(cause.family)) if cause.family in set(Family) else ""


def rows(entry: HeldEntry) -> Sequence[DivergenceRow]:
    """Of the divergence table, the first and the farthest."""
    return entry.change.worst[:ROWS] if entry.change is not None else ()


def more_rows(entry: HeldEntry) -> int:
    """How many are left out."""
    return max(0, len(entry.change.worst) - ROWS) if entry.change is not None else 0


def row_apart(row: DivergenceRow) -> Iterator[str]:
    """How far both sides are apart, in ULP, and the weights in units of lr."""
    yield ulp_text(row.max_ulp)
    if row.max_steps is not None and row.max_ulp != NO_DISTANCE:
        yield steps_text(row.lr)


def has_untold(changes: Changes) -> bool:
    """Whether there is something of which nothing can be told."""
    return bool(changes.untold) or (changes.map is not None and any(one.why for one in changes.map.columns))


def untold_rows(changes: Changes) -> Sequence[UntoldRow]:
    """Blocks of which nothing can be told; dtypes of one implementation for which the same is said share a row."""
    rows: dict[object, list[Block]] = {}
    for block in changes.untold:
        group = block.group
        said = tuple(text for text, _ in group.reasons)
        rows.setdefault((group.implementation, group.status, block.releases, said), []).append(block)
    return [_untold_row(changes, blocks) for blocks in rows.values()]


def _untold_row(changes: Changes, blocks: Sequence[Block]) -> UntoldRow:
    first = blocks[0].group
    drifts = [one for block in blocks for one in block.group.drifts]
    whole = len(drifts) == sum(block.group.of for block in blocks)
    cases = list(dict.fromkeys(one.case for one in drifts))
    others = f" and {len(cases) - CASES:,} more" if len(cases) > CASES else ""
    reasons = [text for text, _ in first.reasons]
    more = f"; and {len(reasons) - REASONS:,} other reasons" if len(reasons) > REASONS else ""
    return UntoldRow(
        tuple(block.number for block in blocks),
        first.status,
        first.implementation,
        ", ".join(block.group.dtype for block in blocks),
        releases_text(changes, blocks[0].releases),
        f"{len(drifts):,} of {sum(block.group.of for block in blocks):,}",
        "all" if whole and len(cases) > CASES else ", ".join(cases[:CASES]) + others,
        "; ".join(reasons[:REASONS]) + more,
    )


def met(changes: Changes) -> Iterator[tuple[Status, str]]:
    """What the statuses mean of which nothing can be told, those that occur."""
    for status in UNTOLD:
        if any(block.group.status is status for block in changes.untold):
            yield status, MEANINGS[status]


def search_rows(search: HeldSearch) -> Iterator[tuple[str, str, str]]:
    """Every release in order: what is said of it, and why."""
    decided = {one.release: one for one in search.decisions}
    for release in search.releases:
        if release in decided:
            first = ", the first" if release == search.first_changed else ""
            yield release, f"{ANSWERS[decided[release].answer]}{first}", decided[release].why
        elif release == search.releases[0]:
            yield release, ANSWERS[Answer.SAME], "the good one"
        elif release == search.releases[-1]:
            yield release, ANSWERS[Answer.CHANGED], "the bad one"
        else:
            yield release, "not looked at", "the others decide"


def facts(changes: Changes) -> Iterator[tuple[str, str]]:
    """What was compared, where it was recorded, by which parity."""
    columns = changes.map.columns if changes.map is not None else ()
    releases = f", of {len(columns):,} releases" if changes.document.kind is Document.MATRIX else ""
    if isinstance(changes.document.content, HeldSearch) and not changes.document.holdings:
        yield "What decided", "a test of the user, by its exit code"
    else:
        counted = "1 entry" if changes.total.entries == 1 else f"{changes.total.entries:,} entries"
        yield "What was compared", f"{changes.compared:,} digests of steps, of {counted}{releases}"
    for name, text in _sides(changes):
        yield name, text
    for text in dict.fromkeys(_recorded(one) for held in changes.document.holdings for one in _places(held)):
        yield "Recorded", text
    yield "parity", changes.document.version


def _sides(changes: Changes) -> Iterator[tuple[str, str]]:
    match changes.document.content:
        case HeldMatrix(reference=reference):
            yield "Held against", reference
        case Held(before=None, baseline=baseline):
            yield "Held against", f"baseline {baseline}"
        case _:
            for held in changes.document.holdings:
                if held.before is not None and held.after is not None:
                    yield "Before", held.before.name
                    yield "After", held.after.name


def _places(held: Held) -> Iterator[RecordedFacts]:
    if held.before is None or held.after is None:
        yield held.recorded
    else:
        yield held.before.recorded
        yield held.after.recorded


def _recorded(one: RecordedFacts) -> str:
    return f"{one.cells:,} cells (case x dtype) on Python {one.python}, {one.platform}, {one.processor}"


def command(changes: Changes) -> str:
    """The words that lead to it again."""
    return shlex.join(changes.document.command)
