"""Where text goes: standard output for answers, standard error for errors and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLORS = ("auto", "always", "never")


def console(color: str = "auto", *, stderr: bool = False) -> Console:
    """A rich console; NO_COLOR and pipes are respected unless colour is asked for."""
    from rich.console import Console

    force = {"auto": None, "always": True, "never": False}[color]
    # A table that does not fit a pipe's default of 80 columns would lose its last ones.
    width = None if sys.stdout.isatty() else 160
    return Console(
        stderr=stderr,
        force_terminal=force,
        no_color=True if color == "never" else None,
        highlight=False,
        width=width,
    )


def plain_table(rows: Sequence[dict[str, str]]) -> Table:
    """Rows of text under their keys."""
    from rich.table import Table

    from parity.report.markup import on_screen

    table = Table(box=None, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*(on_screen(value) for value in row.values()))
    return table


def error_line(text: str) -> None:
    """One line on standard error."""
    from parity.report.markup import printable

    print(f"parity: {printable(text)}", file=sys.stderr)


def show_traceback(text: str) -> None:
    """All lines of an error in a user's code, on standard error."""
    from parity.report.markup import printable

    if text:
        print(printable(text.rstrip("\n")), file=sys.stderr)


def write_answer(path: str, answer: Any) -> None:
    """What ``--json FILE`` writes; '-' is standard output."""
    text = json.dumps(answer, indent=1, sort_keys=True) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def append_markdown(path: Path | None, lines: Iterable[str]) -> None:
    """What ``--markdown FILE`` adds to a file, which other steps of a CI job write too."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def show_kept(screen: Console, folder: Path) -> None:
    """The folder, and why there is no page in it where there is none."""
    from parity.api.changes import PAGE, no_page

    screen.print(f"kept: {folder}", markup=False, style="dim")
    if not (folder / PAGE).exists():
        screen.print(no_page(), markup=False, style="dim")
