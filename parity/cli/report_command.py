"""``parity report``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("report", short_help="Render the reports of a run directory again, or of two side by side.")
@click.argument("run_directory", type=click.Path(path_type=Path))
@click.argument("other", required=False, metavar="[OTHER]", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="With OTHER: where the comparison is written.  [OTHER]")  # fmt: skip
@options.json_file()
def command(run_directory: Path, other: Path | None, output: Path | None, json_file: str | None) -> int:
    """Write report.md and report.html of RUN_DIRECTORY from what it keeps; nothing is run.

    With OTHER, a second run directory: comparison.md and comparison.html, which show both side by side, pair by pair.
    Exit code 0 for a report, whatever it says; 5 where no pair stands in both with the same inputs.
    """
    from parity import api
    from parity.cli.console import error_line
    from parity.cli.two_runs import show_two_runs
    from parity.errors import UsageError

    if other is not None:
        return show_two_runs(run_directory, other, output, json_file)
    for name, given in (("-o", output), ("--json", json_file)):
        if given:
            raise UsageError(f"{name} belongs to two run directories; one has its report in itself, and run.json")
    lacking = api.report(run_directory)
    click.echo(str(run_directory / api.REPORT))
    if lacking:
        error_line(f"no {api.PAGE}: {' and '.join(lacking)} missing; pip install 'parity[report]'")
    else:
        click.echo(str(run_directory / api.PAGE))
    return 0
