"""``parity report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", short_help="Render the reports of a run directory again.")
@click.argument("run_directory", type=click.Path(path_type=Path))
def command(run_directory: Path) -> int:
    """Write report.md and report.html of RUN_DIRECTORY from what it keeps; nothing is run."""
    from parity import api
    from parity.cli.console import error_line

    lacking = api.report(run_directory)
    click.echo(str(run_directory / api.REPORT))
    if lacking:
        error_line(f"no {api.PAGE}: {' and '.join(lacking)} missing; pip install 'parity[report]'")
    else:
        click.echo(str(run_directory / api.PAGE))
    return 0
