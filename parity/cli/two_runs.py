"""``parity report A B``."""

from __future__ import annotations

from pathlib import Path

import click


def show_two_runs(before: Path, after: Path, output: Path | None, json_file: str | None) -> int:
    """Write what two run directories come to side by side; paths and one line."""
    from parity.api import front as api
    from parity.cli.console import error_line, write_answer
    from parity.report.comparison import COMPARISON_PAGE
    from parity.report.html.templates import lacking_line, missing
    from parity.report.side_by_side import sentence, warnings
    from parity.report.side_by_side_json import side_by_side_to_json

    found, written = api.report_side_by_side(before, after, output)
    told_to = json_file == "-"
    if json_file:
        write_answer(json_file, side_by_side_to_json(found))
    for line in warnings(found):
        error_line(line)
    for path in written:
        click.echo(str(path), err=told_to)
    if len(written) == 1:
        error_line(lacking_line(COMPARISON_PAGE, missing()))
    click.echo(f"{sentence(found)}.", err=told_to)
    return 0
