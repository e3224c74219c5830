"""``parity report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", short_help="Render the report of a run directory again.")
@click.argument("run_directory", type=click.Path(path_type=Path))
def command(run_directory: Path) -> int:
    """Write report.md of RUN_DIRECTORY from what it keeps; nothing is run."""
    from parity.api import REPORT
    from parity.engine.record import read_run
    from parity.explain.headlines import read_headlines
    from parity.files import write_atomically
    from parity.report.markdown import render

    run = read_run(run_directory)
    write_atomically(run_directory / REPORT, render(run, read_headlines(run, run_directory)))
    click.echo(str(run_directory / REPORT))
    return 0
