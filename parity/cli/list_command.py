"""``parity list``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options

KINDS = ("cases", "implementations", "metrics", "conventions")


@click.command("list", short_help="List cases, implementations, metrics or conventions.")
@click.argument("kind", metavar="{" + "|".join(KINDS) + "}")
@click.argument("cases", nargs=-1, metavar="[CASE]...", type=click.Path(path_type=Path))
@click.option("-k", "keyword", default="", metavar="EXPR", help="Only those whose names match.")
@options.json_file()
@options.color()
def command(kind: str, cases: tuple[Path, ...], keyword: str, json_file: str | None, color: str) -> int:
    """List what parity knows; imports no framework."""
    from parity.api.listing import LISTINGS
    from parity.cli.console import console, plain_table, write_answer
    from parity.core.errors import UsageError, nearest
    from parity.core.selection import matcher

    if kind not in LISTINGS:
        raise UsageError(f"list {kind!r} is unknown; {nearest(kind, LISTINGS)}")
    if cases and kind != "cases":
        raise UsageError(f"list {kind}: takes no CASE, and {str(cases[0])!r} was given")
    matches = matcher(keyword)
    rows = [row for row in LISTINGS[kind](cases) if matches(row["name"])]
    if json_file:
        write_answer(json_file, rows)
        if json_file == "-":
            return 0
    console(color).print(plain_table(rows))
    return 0
