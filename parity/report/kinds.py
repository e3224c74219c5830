"""How far kinds of machines are apart, in sentences and rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity.engine.kinds import PARQUET, Kinds, Unlike
from parity.report.figures import steps_text, ulp_text
from parity.report.markup import escape, table

TITLE = "Kinds of machines"

HEAD = ("implementation", "machine", "dtype", "against the first kind")


def introduction(kinds: Kinds) -> str:
    """What was asked where, and what came of it."""
    first, *others = kinds.machines
    if not others:
        return "Every worker was of one kind: there is nothing to hold against it."
    differing = sum(one.differing > 0 for one in kinds.rows)
    failed = sum(bool(one.failure) for one in kinds.rows)
    alike = len(kinds.rows) - differing - failed
    told = f", of {failed:,} nothing can be told" if failed else ""
    return (
        f"Every cell was run on {len(kinds.machines)} kinds of machines, and what each implementation made of it is "
        f"held against the first kind ({first.name}), with which the rest of this report was made: {alike:,} are equal "
        f"to the last bit, {differing:,} are not{told}. All rows are in {PARQUET}."
    )


def rows(kinds: Kinds) -> Iterator[tuple[str, str, str, str]]:
    """A row for each implementation, kind and dtype of which something is to be told, in the order of `HEAD`."""
    found: dict[tuple[str, str, str], list[Unlike]] = {}
    for one in kinds.rows:
        found.setdefault((one.implementation, one.kind, one.dtype), []).append(one)
    for place, those in found.items():
        yield *place, _told(those)


def _told(those: Sequence[Unlike]) -> str:
    differing, failed = [one for one in those if one.differing], [one for one in those if one.failure]
    parts = []
    if differing:
        worst = max(differing, key=lambda one: (one.lr, one.ulp))
        first = min(one.first for one in differing if one.first is not None)
        size = f"w by at most {ulp_text(worst.ulp)}, {steps_text(worst.lr)} ({worst.case})" if worst.ulp else "w equal"
        parts.append(f"differs in {len(differing)} of {len(those)} cases from step {first:,}: {size}")
    elif len(failed) < len(those):
        parts.append(f"identical in {len(those) - len(failed)} of {len(those)} cases")
    parts += dict.fromkeys(one.failure for one in failed)
    return "; ".join(parts)


def section(kinds: Kinds | None) -> str:
    """Of report.md; empty where nobody asked for it."""
    if kinds is None:
        return ""
    told = table(HEAD, [[escape(one) for one in row] for row in rows(kinds)]) if kinds.rows else ""
    return "\n\n".join(filter(None, [f"## {TITLE}", escape(introduction(kinds)), told]))
