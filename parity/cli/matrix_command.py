"""``parity matrix``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("matrix", short_help="Hold several releases against the newest, or against a baseline.")
@options.selection()
@click.option("--package", required=True, metavar="NAME", help="The package whose releases are held.")
@click.option("--versions", required=True, metavar="RELEASE,...", help="Its releases, parted by commas.")
@click.option("--with", "beside", multiple=True, metavar="PIN",
              help="A release in every environment, as 'tensorflow-cpu==2.21.0'. Repeatable.")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), metavar="DIR",
              help="Hold them against this baseline, instead of the newest of them.")  # fmt: skip
@options.cluster()
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=Path("runs/matrix"),
              show_default=True, metavar="DIR", help="Keeps a baseline of every release, and the result.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Take over the releases that the folder already holds.")
@options.discard()
@options.markdown_file()
@options.json_file()
@options.verbosity()
@options.color()
def command(
    asked: options.Asked,
    package: str,
    versions: str,
    beside: tuple[str, ...],
    baseline: Path | None,
    cluster: str,
    folder: Path,
    resume: bool,
    discard: bool,
    markdown: Path | None,
    json_file: str | None,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Record the same inputs with several releases, and show implementations by releases.

    Exit code 0 where every bit of every release is the same, 1 where something is not, or a release cannot be had.
    """
    from parity.api.matrix import matrix
    from parity.cli.console import append_markdown, console, show_kept, write_answer
    from parity.cli.watching import watching
    from parity.report.upgrade import matrix_lines, matrix_summary, matrix_table, matrix_to_json, remarks

    releases = [one.strip() for one in versions.split(",") if one.strip()]
    with watching(console(color, stderr=True), quiet) as watcher:
        found = matrix(
            package,
            releases,
            beside,
            **asked.words,
            baseline=baseline,
            cluster=cluster,
            output=folder,
            resume=resume,
            discard=discard,
            on_build=watcher.on_build,
            on_done=watcher.on_done,
        )
    if json_file:
        write_answer(json_file, matrix_to_json(found))
    append_markdown(markdown, matrix_lines(found))
    screen = console(color, stderr=json_file == "-")
    if not quiet:
        screen.print(matrix_table(found))
        for told in remarks(found):
            screen.print(told, markup=False, style="yellow")
        show_kept(screen, folder)
    screen.print(matrix_summary(found), markup=False, style="red" if found.exit_code else "green")
    return found.exit_code
