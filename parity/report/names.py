"""How many wrong Adams are named, and how many right ones falsely, as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parity.engine.power import Asked, Naming
from parity.report.markup import table

TITLE = "How many wrong Adams are named"

HEAD = ("Adams", "dtype", "asked", "named", "falsely named", "seconds each")

INTRODUCTION = (
    "Wrong Adams are made by program, one fault at a time and two at once; counted are those of which at least one bit "
    "is another than that of the right Adam. Named: every fault, nothing else, and no bit left unexplained."
)


def rows(names: Sequence[Naming]) -> Iterator[tuple[str, ...]]:
    """A row for each kind of Adam and dtype, in the order of `HEAD`."""
    for one in names:
        if not one.family:
            share = f"{one.named:,} ({one.named / one.asked:.1%})"
            yield one.kind, one.dtype, f"{one.asked:,}", share, f"{one.falsely:,}", f"{one.seconds:.2f}"


def family_head(names: Sequence[Naming]) -> tuple[str, ...]:
    """What heads the rows of `family_rows`."""
    return ("family of a fault", *(f"{kind}, {dtype}" for kind, dtype in _columns(names)))


def family_rows(names: Sequence[Naming]) -> Iterator[tuple[str, ...]]:
    """A row for each family of faults: how many are named of how many that have one of it."""
    found = {(one.kind, one.dtype, one.family): f"{one.named:,} of {one.asked:,}" for one in names}
    for family in sorted({one.family for one in names} - {""}):
        yield (
            family.replace("unexplained", "another rule"),
            *(found.get((*column, family), "") for column in _columns(names)),
        )


def _columns(names: Sequence[Naming]) -> list[tuple[Asked, str]]:
    return list(dict.fromkeys((one.kind, one.dtype) for one in names if one.family))


def tables(names: Sequence[Naming]) -> str:
    """Both tables in Markdown."""
    return f"{table(HEAD, rows(names))}\n\n{table(family_head(names), family_rows(names))}"


def section(names: Sequence[Naming]) -> str:
    """Of a report in Markdown; empty where nobody counted."""
    return f"## {TITLE}\n\n{INTRODUCTION}\n\n{tables(names)}" if names else ""
