"""``parity run``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from parity.engine.record import Run


@click.command("run", short_help="Run cases on implementations, compare every step.")
@options.selection()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs/latest"), show_default=True,
              metavar="DIR", help="Run directory.")  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Cells side by side, each with worker processes of its own.")  # fmt: skip
@click.option("--cluster", default="", metavar="ADDRESS",
              help="Run the cells on workers of the Dask scheduler there, or on so many here: local:4.")  # fmt: skip
@click.option("--each-kind", is_flag=True,
              help="With --cluster: every cell on every kind of machine, and how far those are apart.")  # fmt: skip
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first pair that is not as expected.")
@click.option("--maxfail", type=click.IntRange(min=1), metavar="N", help="Stop after N pairs that are not as expected.")
@click.option("--keep-traces", is_flag=True, help="Keep the bits of every step under traces/.")
@click.option("--csv", is_flag=True, help="Write the table as divergence.csv too; large.")
@click.option("--no-explain", is_flag=True, help="Do not say why pairs differ; faster.")
@click.option("--resume", is_flag=True, help="Take over what the run directory already holds.")
@options.junit_file()
@options.markdown_file()
@options.json_file()
@options.traceback()
@options.verbosity()
@options.color()
def command(
    asked: options.Asked,
    output: Path,
    jobs: int,
    cluster: str,
    each_kind: bool,
    exitfirst: bool,
    maxfail: int | None,
    keep_traces: bool,
    csv: bool,
    no_explain: bool,
    resume: bool,
    junit: Path | None,
    markdown: Path | None,
    json_file: str | None,
    traceback: bool,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Run cases on implementations and compare every pair at every step.

    CASE is a case file, a folder of them, or a recording; none means the catalogue that comes with parity. Your own
    Adam joins with -i and is held against numpy.adam.outside, Algorithm 1 of the paper; a case that expects nothing
    holds every -i against the first, and is green where all are IDENTICAL, WITHIN rounding, or EXPLAINED. What your own
    cannot do it refuses by 'raise parity.Unsupported(...)' before its first state: SKIPPED, with that reason.
    """
    from parity.api import run as api
    from parity.cli.console import append_markdown, console, show_traceback
    from parity.cli.progress import progress
    from parity.engine.run import Options
    from parity.report.markdown import summary_lines

    if verbose:
        logging.basicConfig(format="parity: %(message)s", level=logging.INFO)
    with progress(console(color, stderr=True), quiet) as on_done:
        outcome = api.run(
            asked.cases,
            asked.implementations,
            asked.dtypes,
            output,
            keyword=asked.keyword,
            options=Options(
                jobs=jobs,
                timeout=asked.timeout,
                keep_traces=keep_traces,
                resume=resume,
                max_failures=1 if exitfirst else maxfail or 0,
                csv=csv,
            ),
            on_cell=lambda cell, result, done, total: on_done(cell.name, done, total),
            explained=not no_explain,
            cluster=cluster,
            each_kind=each_kind,
        )
    if json_file:
        _write_json(json_file, output)
    if junit is not None:
        from parity.report.junit import write_junit

        write_junit(outcome, junit)
    append_markdown(markdown, summary_lines(outcome))
    if traceback:
        failures = (one.failure for cell in outcome.cells for one in cell.outcomes if one.failure is not None)
        for text in dict.fromkeys(failure.traceback for failure in failures):
            show_traceback(text)
    _show(outcome, output, console(color, stderr=json_file == "-"), verbose=verbose, quiet=quiet)
    return outcome.exit_code


def _write_json(json_file: str, output: Path) -> None:
    import json

    from parity.cli.console import write_answer
    from parity.engine.record import FILE

    write_answer(json_file, json.loads((output / FILE).read_text(encoding="utf-8")))


def _show(outcome: Run, output: Path, screen: Console, *, verbose: bool, quiet: bool) -> None:
    from parity.report.terminal import found_table, kinds_told, matrix_table, power_lines, summary_line, verdict_table

    if not quiet:
        screen.print(matrix_table(outcome))
        if verbose:
            screen.print(verdict_table(outcome.verdicts))
        elif outcome.unexpected:
            screen.print(verdict_table(outcome.unexpected))
        for line in power_lines(outcome, every=verbose):
            screen.print(line)
        screen.print()
        if outcome.kinds is not None:
            for told in kinds_told(outcome.kinds):
                screen.print(told)
            screen.print()
        screen.print(found_table(outcome, output, every=verbose))
    screen.print(summary_line(outcome))
