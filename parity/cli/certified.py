"""``parity report --certificate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def certified(
    run_directory: Path,
    pair: tuple[str, str],
    dtypes: Sequence[str],
    keyword: str,
    output: Path,
    json_file: str | None,
) -> int:
    """Certify a pair, write it down, and say so; the exit code of the answer."""
    from parity.api import front as api
    from parity.cli.console import error_line, write_answer
    from parity.report.certificate_files import write_certificate
    from parity.report.certified import narrowing_command, summary
    from parity.report.html.templates import lacking_line, missing
    from parity.report.markup import printable

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
