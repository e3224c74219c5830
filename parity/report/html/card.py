"""A card: a heading, some lines, some tables, as HTML that stands by itself in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

NEEDED = "jinja2"

MOST_ROWS = 30

BORDERS = {"same": "#2a9d78", "near": "#3d8fd9", "other": "#d9822b", "alarm": "#d6336c"}
"""Of the border, which only repeats what the heading says; to be seen on light and on dark."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table. numbers: places of columns that hold figures; more: rows that are left out."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A value as it is shown. tone: one of `BORDERS`; formula: text whose lines stay lines."""

    title: str
    tone: str
    lines: tuple[str, ...] = ()
    tables: tuple[Rows, ...] = ()
    formula: str = ""


def rows_of(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Iterable[str]],
    numbers: Sequence[int] = (),
    most: int = MOST_ROWS,
) -> tuple[Rows, ...]:
    """A table of the first rows, as the only one of several; none where there is no row."""
    left = iter(rows)
    shown = tuple(tuple(row) for row in islice(left, most))
    return (Rows(caption, tuple(headers), shown, tuple(numbers), sum(1 for _ in left)),) if shown else ()


def render_card(card: Card) -> str | None:
    """The card as HTML that stands by itself; None where what makes it is not installed."""
    if find_spec(NEEDED) is None:
        return None
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("card.html.j2").render(card=card, border=BORDERS[card.tone])


def stacked(value: str) -> str:
    """A value with its hexadecimal form below it."""
    return value.replace(" (", "\n(")
