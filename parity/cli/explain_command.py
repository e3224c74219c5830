"""``parity explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.cli import options

if TYPE_CHECKING:
    from parity.engine.result import Failure


@click.command("explain", short_help="Say why two implementations differ, to the last bit.")
@click.argument("case")
@click.argument("actual", metavar="A")
@click.argument("expected", metavar="B")
@click.option("-d", "--dtype", "dtypes", multiple=True, metavar="DTYPE",
              help="float64, float32, float16 or bfloat16. Repeatable.  [all of the case]")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="Keep the run with its traces here.  [nowhere]")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True,
              metavar="S", help="Seconds a worker may take for one answer.")  # fmt: skip
@options.json_file()
@options.traceback()
@options.verbosity()
@options.color()
def command(
    case: str,
    actual: str,
    expected: str,
    dtypes: tuple[str, ...],
    output: Path | None,
    timeout: float,
    json_file: str | None,
    traceback: bool,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Run A and B on CASE and say why they differ.

    CASE is the name of a case that comes with parity, a case file, or a recording. A and B are implementations
    ('parity list implementations') or your own: 'file.py:run', 'module:run', 'torch.optim:Adam'.

    Exit code 0 where no bit differs or every differing bit is accounted for, 1 where not, or where a side does not
    come to its end in one dtype, 5 where in none.
    """
    from parity.api import explain as api
    from parity.cli.console import console, show_traceback, write_answer
    from parity.report.explanation import blocks, sentence_line
    from parity.report.markup import on_screen

    failed: list[tuple[str, str]] = []

    def on_failure(name: str, place: str, failure: Failure) -> None:
        failed.append((f"{name} on {place}", failure.reason))
        if traceback:
            show_traceback(failure.traceback)

    found = api.explain(case, actual, expected, dtypes, output, timeout=timeout, on_failure=on_failure)
    if json_file:
        write_answer(
            json_file,
            {"explanations": [one.to_json() for one in found], "failed": dict(failed)},
        )
    screen = console(color, stderr=json_file == "-")
    for one in found:
        for part in [sentence_line(one)] if quiet else blocks(one, verbose=verbose):
            screen.print(part)
    for where, reason in failed:
        screen.print(f"[bold red]failed[/bold red] {on_screen(f'{where}: {reason}')}")
    return 0 if all(one.explained for one in found) and not failed else 1
