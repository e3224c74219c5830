"""``parity upgrade``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from parity.cli import options


def _side(name: str) -> options.Decorator:
    """The ways in which a side is given."""
    added = (
        click.option(f"--{name}", f"{name}_pins", multiple=True, metavar="PIN",
                     help=f"A release of the environment {name}, as 'keras==3.3.3'. Repeatable."),
        click.option(f"--{name}-python", f"{name}_python", default="", metavar="PATH",
                     help="An interpreter instead, with NumPy, ml_dtypes and the framework."),
        click.option(f"--{name}-baseline", f"{name}_baseline", type=click.Path(path_type=Path), metavar="DIR",
                     help="A saved baseline instead."),
        click.option(f"--{name}-env", f"{name}_variables", multiple=True, metavar="NAME=VALUE",
                     help=f"A variable of the environment {name}, there before a framework is imported; alone: of this "
                     "Python. Repeatable."),
    )  # fmt: skip

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(added):
            function = option(function)
        return function

    return decorate


@click.command("upgrade", short_help="Say what another release changes, to the bit, and why.")
@options.selection()
@_side("before")
@_side("after")
@click.option("--with", "beside", multiple=True, metavar="PIN",
              help="A release in both environments, as 'tensorflow-cpu==2.21.0'. Repeatable.")  # fmt: skip
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=Path("runs/upgrade"),
              show_default=True, metavar="DIR", help="Keeps the baselines of both sides, and the result.")  # fmt: skip
@options.cluster()
@options.discard()
@options.markdown_file()
@options.json_file()
@options.verbosity()
@options.color()
def command(
    asked: options.Asked,
    before_pins: tuple[str, ...],
    before_python: str,
    before_baseline: Path | None,
    before_variables: tuple[str, ...],
    after_pins: tuple[str, ...],
    after_python: str,
    after_baseline: Path | None,
    after_variables: tuple[str, ...],
    beside: tuple[str, ...],
    folder: Path,
    cluster: str,
    discard: bool,
    markdown: Path | None,
    json_file: str | None,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Record the same inputs before and after an upgrade, each in an environment of its own, and say what changed.

    Environments are built by uv or pip, kept by their pins, and used again. Without -i: the implementations that
    stand on what is pinned. Two settings of this Python are compared as two releases are: --after-env
    ATEN_CPU_CAPABILITY=default. Exit code 0 where every bit is the same, 1 where something changed.
    """
    from parity.api.upgrade import upgrade
    from parity.baseline.side import Place, variables_of
    from parity.cli.console import append_markdown, console, show_kept, write_answer
    from parity.cli.watching import watching
    from parity.report.drift import drift_tables
    from parity.report.upgrade import WORDING, notes_of, upgrade_lines, upgrade_summary, upgrade_to_json

    before, after = (
        Place(f"--{name}", pins, beside, python, baseline, variables_of(variables, f"--{name}-env"))
        for name, pins, python, baseline, variables in (
            ("before", before_pins, before_python, before_baseline, before_variables),
            ("after", after_pins, after_python, after_baseline, after_variables),
        )
    )
    with watching(console(color, stderr=True), quiet) as watcher:
        found = upgrade(
            before,
            after,
            **asked.words,
            output=folder,
            cluster=cluster,
            discard=discard,
            on_build=watcher.on_build,
            on_done=watcher.on_done,
        )
    if json_file:
        write_answer(json_file, upgrade_to_json(found))
    append_markdown(markdown, upgrade_lines(found))
    screen = console(color, stderr=json_file == "-")
    if not quiet:
        for table in drift_tables(found.checked, WORDING, verbose=verbose):
            screen.print(table)
        for note in notes_of(found):
            screen.print(f"note: {note}", markup=False, style="yellow")
        show_kept(screen, folder)
    screen.print(upgrade_summary(found), markup=False, style="red" if found.exit_code else "green")
    return found.exit_code
