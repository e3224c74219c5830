"""A certificate as a page of Markdown, and in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from parity.core.digest import digest_of
from parity.report.certificate import (
    CLAUSE_HEAD,
    LIMITS,
    SETTINGS_HEAD,
    UNITS,
    bound_rows,
    by_dtype,
    claim,
    clause_rows,
    left_out,
    notes,
    scope,
    setting_rows,
    side_rows,
    terms,
)
from parity.report.figures import steps_text
from parity.report.markup import escape, printable, table
from parity.report.panels.certificate import Certificate, Reason
from parity.report.refusal import advice, narrowing_command, reason_detail, reason_line, reason_title, reason_where

MARK = "Equivalence certificate"
"""Stands at the top of every certificate, so that one can be told from another file."""

STEM = "certificate-"

LONGEST_NAME = 80


def file_stem(one: Certificate) -> str:
    """The name of its files without the ending; names that a file cannot bear get a digest."""
    return f"{STEM}{_safe(one.actual.name)}-{_safe(one.expected.name)}"


def _safe(name: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9._]", "_", name)[:LONGEST_NAME]
    return kept if kept == name else f"{kept}_{digest_of(name.encode())[:8]}"


def render_certificate(one: Certificate) -> str:
    """The page, with every case folded at its end."""
    sections = _issued(one) if one.issued else _refused(one)
    return "\n\n".join(filter(None, sections)) + "\n"


def _issued(one: Certificate) -> Iterator[str]:
    yield f"# {MARK}"
    pair = f"{escape(one.actual.name)} {claim(one)} {escape(one.expected.name)}"
    yield f"**{pair}** {escape(terms(one))}"
    yield "\n".join(f"- **{dtype}**: {escape(text)}." for dtype, text in by_dtype(one))
    yield f"## To this bound\n\n{_bounds(one)}\n\n{UNITS}"
    yield "\n".join(f"- {escape(note)}" for note in notes(one))
    yield _left_out(one)
    yield f"## Under these hyperparameters\n\n{_settings(one)}"
    yield f"## With these versions\n\n{_sides(one)}"
    yield "## What it does not say\n\n" + "\n".join(f"- {line}" for line in LIMITS)
    yield f"Digest of all that is certified: `{one.digest}`. Made by parity {escape(one.version)} from one run."
    yield _clauses(one)


def _refused(one: Certificate) -> Iterator[str]:
    yield f"# {MARK}: cannot be issued"
    pair = f"{escape(one.actual.name)} and {escape(one.expected.name)}"
    yield f"**{pair}** cannot be called equivalent on {escape(scope(one))}."
    yield "\n".join(_reason(one, reason) for reason in one.reasons)
    yield _narrowing(one)
    if one.narrowing is not None:
        yield f"## What holds all the same\n\n{_bounds(one)}\n\n{UNITS}"
    yield _left_out(one)
    yield f"## With these versions\n\n{_sides(one)}"
    yield f"Made by parity {escape(one.version)} from one run."
    yield _clauses(one)


def _reason(one: Certificate, reason: Reason) -> str:
    detail, where = reason_detail(reason), reason_where(reason)
    told, command = advice(one, reason)
    parts = [f"**{reason_title(reason, one.cells[0])}.**", f"{escape(detail)}." if detail else ""]
    parts += [f"Where: {escape(where)}." if where else "", escape(told), f"`{_code(command)}`" if command else ""]
    return "- " + " ".join(filter(None, parts))


def _narrowing(one: Certificate) -> str:
    command = narrowing_command(one)
    if not command or one.narrowing is None:
        return ""
    told = f"{one.narrowing.cells:,} of the {one.narrowing.of:,} cells (a case in a dtype) can be certified:"
    return f"## What can be certified\n\n{told}\n\n```console\n$ {_code(command)}\n```"


def _bounds(one: Certificate) -> str:
    head, rows = bound_rows(one)
    return table(head, _escaped([f"{text} ({place})" if place else text for text, place in row] for row in rows))


def _settings(one: Certificate) -> str:
    return table(SETTINGS_HEAD, _escaped(setting_rows(one.settings)))


def _sides(one: Certificate) -> str:
    return table(["of", "what ran"], _escaped(list(row) for row in side_rows(one)))


def _left_out(one: Certificate) -> str:
    told = left_out(one)
    if not told:
        return ""
    refused = [f"- {escape(reason_line(reason, len(one.left_out)))}" for reason in one.left_out_reasons]
    tail = "Of them these could not be certified:\n\n" + "\n".join(refused) if refused else "All of them could be."
    return f"{escape(told)}. {tail}"


def _clauses(one: Certificate) -> str:
    head = f"<details><summary>Every case and dtype ({len(one.clauses):,})</summary>"
    rows = _escaped(clause_rows(one.clauses))
    return f"{head}\n\n{table(CLAUSE_HEAD, rows)}\n\n</details>"


def _escaped(rows: Iterable[list[str]]) -> list[list[str]]:
    return [[escape(text) for text in row] for row in rows]


def _code(command: str) -> str:
    """A command that cannot end the code it stands in."""
    return " ".join(printable(command).replace("`", "'").split())


def summary(one: Certificate) -> str:
    """One line for a terminal."""
    if one.issued:
        farthest = max(one.bounds, key=lambda bound: bound.lr.value)
        equal = not farthest.lr.value
        told = "every weight is equal" if equal else f"weights differ by at most {steps_text(farthest.lr.value)}"
        place = "" if equal else f" ({farthest.lr.case} in {farthest.dtype})"
        return f"issued: {one.actual.name} {claim(one)} {one.expected.name} on {scope(one)}; {told}{place}"
    first, *others = one.reasons
    titles = [reason_line(first, one.cells[0]), *(reason_title(reason, one.cells[0]) for reason in others)]
    return f"cannot be issued: {'. '.join(titles)}"
