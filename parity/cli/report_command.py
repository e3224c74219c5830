"""``parity report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", short_help="Render the reports of a run directory again.")
@click.argument("run_directory", type=click.Path(path_type=Path))
@click.option("--changes", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
              help="Show with it what upgrade, matrix, bisect or baseline left: folder or JSON.")  # fmt: skip
def command(run_directory: Path, changes: tuple[Path, ...]) -> int:
    """Write report.md and report.html of RUN_DIRECTORY from what it keeps; nothing is run.

    Of a folder that upgrade, matrix or bisect keeps its answer in: its report.html.
    """
    from parity import api
    from parity import changes as documents
    from parity.cli.console import error_line

    if not changes and documents.is_changes(run_directory):
        click.echo(str(documents.report_changes(run_directory)))
        return 0
    lacking = api.report(run_directory, changes)
    click.echo(str(run_directory / api.REPORT))
    if lacking:
        error_line(f"no {api.PAGE}: {' and '.join(lacking)} missing; pip install 'parity[report]'")
    else:
        click.echo(str(run_directory / api.PAGE))
    return 0
