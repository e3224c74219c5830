"""``parity baseline``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from parity.baseline.check import Checked
    from parity.baseline.saving import Recorded

FOLDER = Path("baselines")


def _folder() -> options.Decorator:
    return click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=FOLDER,
                        show_default=True, metavar="DIR", help="The folder of the baselines.")  # fmt: skip


@click.group("baseline", short_help="Keep what an Adam does today, hold tomorrow's against it.")
def command() -> None:
    """Keep the bits of every step, and say later what changed, to the bit."""


@command.command("save")
@options.selection()
@_folder()
@click.option("--update", is_flag=True, help="Replace what this environment has there.")
@options.verbosity()
@options.color()
def save_command(
    asked: options.Asked,
    folder: Path,
    update: bool,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Record implementations on cases and keep digests of every step, and the bits of some.

    Exit code 1 where an implementation failed on a case: what came to its end is kept.
    """
    from parity.api import baselines
    from parity.cli.console import console
    from parity.cli.progress import progress
    from parity.engine.protocol import SKIPPING_KINDS
    from parity.report.drift import saved_line, size_text
    from parity.report.markup import on_screen

    screen = console(color)
    with progress(console(color, stderr=True), quiet) as on_done:
        baseline, failed = baselines.save_baseline(
            folder,
            **asked.words,
            update=update,
            on_done=on_done,
        )
    crashed = [one for one in failed if one.failure is not None and one.failure.kind not in SKIPPING_KINDS]
    _tell(failed if verbose else crashed, screen)
    screen.print(f"[dim]baseline: {on_screen(str(baseline.folder))}, {size_text(baseline.size)}[/dim]")
    screen.print(saved_line(baseline), markup=False)
    return 1 if crashed else 0


@command.command("check")
@options.selection()
@_folder()
@click.option("--update", is_flag=True, help="Take over what is missing or changed; the check is told all the same.")
@options.markdown_file()
@options.html_file()
@options.json_file()
@options.verbosity()
@options.color()
def check_command(
    asked: options.Asked,
    folder: Path,
    update: bool,
    markdown: Path | None,
    html: Path | None,
    json_file: str | None,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Hold what implementations do now against a baseline: that of this environment, or the nearest to it."""
    from parity.api import baselines
    from parity.cli.console import console
    from parity.cli.progress import progress

    with progress(console(color, stderr=True), quiet) as on_done:
        checked = baselines.check_baseline(
            folder,
            **asked.words,
            update=update,
            on_done=on_done,
        )
    _answer(checked, json_file, markdown, html, color, verbose=verbose, quiet=quiet)
    return checked.exit_code


@command.command("list")
@_folder()
@options.json_file()
@options.color()
def list_command(folder: Path, json_file: str | None, color: str) -> int:
    """List baselines; every file is checked to the last bit, and no framework is imported."""
    from parity.baseline.store import baselines_in, check_files
    from parity.cli.console import console, write_answer
    from parity.report.drift import baselines_table, describe

    found = baselines_in(folder)
    for one in found:
        check_files(one)
    if json_file:
        write_answer(json_file, [describe(one) for one in found])
    if json_file != "-":
        console(color).print(baselines_table(found))
    return 0


@command.command("diff")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@options.markdown_file()
@options.html_file()
@options.json_file()
@options.verbosity()
@options.color()
def diff_command(
    before: Path,
    after: Path,
    markdown: Path | None,
    html: Path | None,
    json_file: str | None,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Hold one baseline against another, without running anything; no framework is imported."""
    from parity.api import baselines

    checked = baselines.diff_baselines(before, after)
    _answer(checked, json_file, markdown, html, color, verbose=verbose, quiet=quiet)
    return checked.exit_code


def _answer(
    checked: Checked,
    json_file: str | None,
    markdown: Path | None,
    html: Path | None,
    color: str,
    *,
    verbose: bool,
    quiet: bool,
) -> None:
    from parity.cli.console import append_markdown, console, write_answer
    from parity.report.drift import checked_to_json, markdown_lines

    if json_file:
        write_answer(json_file, checked_to_json(checked))
    if html is not None:
        from parity.api.changes import write_page

        write_page(checked_to_json(checked), html)
    append_markdown(markdown, markdown_lines(checked))
    _show(checked, console(color, stderr=json_file == "-"), verbose=verbose, quiet=quiet)


def _show(checked: Checked, screen: Console, *, verbose: bool, quiet: bool) -> None:
    from parity.report.drift import BASELINE, drift_summary, drift_tables
    from parity.report.markup import on_screen

    if not quiet:
        for table in drift_tables(checked, BASELINE, verbose=verbose):
            screen.print(table)
        screen.print(f"[dim]baseline: {on_screen(str(checked.baseline.folder))}[/dim]")
        if checked.obtained is not None:
            screen.print(f"[dim]obtained: {on_screen(str(checked.obtained))}[/dim]")
    screen.print(drift_summary(checked), style="red" if checked.exit_code else "green")


def _tell(failed: Sequence[Recorded], screen: Console) -> None:
    for one in failed:
        if one.failure is not None:
            screen.print(f"not kept: {one.implementation} on {one.case} in {one.dtype}: {one.failure.reason}",
                         markup=False, style="yellow")  # fmt: skip
