"""``parity report``: pages of a run, two runs side by side, certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from parity.cli import options


@click.command("report", short_help="Make the pages of a run, hold two runs side by side, certify a pair.")
@click.argument("run_directory", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.argument("other", required=False, metavar="[OTHER]", type=click.Path(path_type=Path))
@click.option("--certificate", nargs=2, metavar="A B",
              help="Only say whether two implementations of the run are equivalent, and write why.")  # fmt: skip
@click.option("-d", "--dtype", "dtypes", multiple=True, metavar="DTYPE",
              help="With --certificate: only this dtype. Repeatable.  [all]")  # fmt: skip
@click.option("-k", "keyword", default="", metavar="EXPR",
              help="With --certificate: only cases whose names match.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="With --certificate or OTHER: where it is written.  [the last run directory]")  # fmt: skip
@click.option("--changes", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
              help="Show with it what upgrade, matrix, bisect or baseline left: folder or JSON.")  # fmt: skip
@options.json_file()
def command(
    run_directory: Path,
    other: Path | None,
    certificate: tuple[str, str] | None,
    dtypes: tuple[str, ...],
    keyword: str,
    output: Path | None,
    changes: tuple[Path, ...],
    json_file: str | None,
) -> int:
    """Write report.md and report.html of RUN_DIRECTORY from what it keeps; nothing is run.

    Of a folder that upgrade, matrix or bisect keeps its answer in: its report.html.

    With OTHER, a second run directory: comparison.md and comparison.html, which show both side by side, pair by pair.
    Exit code 0 for a report, whatever it says; 5 where no pair stands in both with the same inputs.

    With --certificate exit code 0 says that A and B are equivalent on what was selected, 1 that they cannot be called
    so, 5 that nothing of them was compared.
    """
    from parity.api import changes as documents
    from parity.api import report as api
    from parity.cli.console import error_line
    from parity.core.errors import UsageError
    from parity.report.html.templates import lacking_line

    if certificate and (other or changes):
        raise UsageError("--certificate is about one run directory; leave out the second one and --changes")
    if certificate:
        return certified(run_directory, certificate, dtypes, keyword, output or run_directory, json_file)
    if dtypes or keyword:
        raise UsageError(f"{'-d' if dtypes else '-k'} belongs to --certificate A B")
    if other is not None and changes:
        raise UsageError("--changes are shown with one run directory, and two were given")
    if other is not None:
        return show_two_runs(run_directory, other, output, json_file)
    if output or json_file:
        raise UsageError(f"{'-o' if output else '--json'} belongs to --certificate A B, or to two run directories")
    if not changes and documents.is_changes(run_directory):
        click.echo(str(documents.report_changes(run_directory)))
        return 0
    lacking = api.report(run_directory, changes)
    click.echo(str(run_directory / api.REPORT))
    if lacking:
        error_line(lacking_line(api.PAGE, lacking))
    else:
        click.echo(str(run_directory / api.PAGE))
    return 0


def certified(
    run_directory: Path,
    pair: tuple[str, str],
    dtypes: Sequence[str],
    keyword: str,
    output: Path,
    json_file: str | None,
) -> int:
    """Certify a pair, write it down, and say so; the exit code of the answer."""
    from parity.api import report as api
    from parity.cli.console import error_line, write_answer
    from parity.report.certificate_page import summary
    from parity.report.html.documents import write_certificate
    from parity.report.html.templates import lacking_line, missing
    from parity.report.markup import printable
    from parity.report.refusal import narrowing_command

    found = api.certificate(run_directory, *pair, dtypes, keyword)
    for path in write_certificate(found, output):
        click.echo(str(path), err=json_file == "-")
    if missing():
        error_line(lacking_line("page in HTML", missing()))
    if json_file:
        write_answer(json_file, found.to_json())
    click.echo(printable(summary(found)), err=json_file == "-")
    narrower = narrowing_command(found, str(run_directory))
    if narrower and found.narrowing is not None:
        told = f"{found.narrowing.cells:,} of {found.narrowing.of:,} cells can be certified: {narrower}"
        click.echo(printable(told), err=json_file == "-")
    return found.exit_code


def show_two_runs(before: Path, after: Path, output: Path | None, json_file: str | None) -> int:
    """Write what two run directories come to side by side; paths and one line."""
    from parity.api import report as api
    from parity.cli.console import error_line, write_answer
    from parity.report.html.documents import COMPARISON_PAGE
    from parity.report.html.templates import lacking_line, missing
    from parity.report.side_by_side import sentence, side_by_side_to_json, warnings

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
