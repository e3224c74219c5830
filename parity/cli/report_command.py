"""``parity report``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("report", short_help="Render the reports of a run directory again.")
@click.argument("run_directory", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.option("--certificate", nargs=2, metavar="A B",
              help="Only say whether two implementations of the run are equivalent, and write why.")  # fmt: skip
@click.option("-d", "--dtype", "dtypes", multiple=True, metavar="DTYPE",
              help="With --certificate: only this dtype. Repeatable.  [all]")  # fmt: skip
@click.option("-k", "keyword", default="", metavar="EXPR",
              help="With --certificate: only cases whose names match.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="With --certificate: where it is written.  [RUN_DIRECTORY]")  # fmt: skip
@click.option("--changes", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
              help="Show with it what upgrade, matrix, bisect or baseline left: folder or JSON.")  # fmt: skip
@options.json_file()
def command(
    run_directory: Path,
    certificate: tuple[str, str] | None,
    dtypes: tuple[str, ...],
    keyword: str,
    output: Path | None,
    changes: tuple[Path, ...],
    json_file: str | None,
) -> int:
    """Write report.md and report.html of RUN_DIRECTORY from what it keeps; nothing is run.

    Of a folder that upgrade, matrix or bisect keeps its answer in: its report.html.

    With --certificate exit code 0 says that A and B are equivalent on what was selected, 1 that they cannot be called
    so, 5 that nothing of them was compared.
    """
    from parity import api
    from parity import changes as documents
    from parity.cli.certified import certified
    from parity.cli.console import error_line
    from parity.errors import UsageError

    if certificate and changes:
        raise UsageError("--changes are shown with a run; leave out --certificate")
    if certificate:
        return certified(run_directory, certificate, dtypes, keyword, output or run_directory, json_file)
    for name, given in (("-d", dtypes), ("-k", keyword), ("-o", output), ("--json", json_file)):
        if given:
            raise UsageError(f"{name} belongs to --certificate A B")
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
