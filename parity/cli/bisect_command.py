"""``parity bisect``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("bisect", short_help="Find the first release in which an Adam changes.")
@options.selection()
@click.option("--package", required=True, metavar="NAME", help="The package whose releases are searched.")
@click.option("--good", required=True, metavar="RELEASE", help="The release from which on is searched.")
@click.option("--bad", required=True, metavar="RELEASE", help="A later one, which is known to have changed.")
@click.option("--with", "beside", multiple=True, metavar="PIN",
              help="A release in every environment, as 'keras==3.15.1'. Repeatable.")  # fmt: skip
@click.option("--pre", is_flag=True, help="Search pre-releases too.")
@click.option("--check", default="", metavar="CMD",
              help="Your own test decides: a command for the shell, with PARITY_PYTHON in its environment. "
                   "0: same; 125: cannot tell; others to 127: changed; 128 and more: stop.")  # fmt: skip
@click.option("--replay", type=click.Path(path_type=Path), metavar="FILE", help="Take over what a log has decided.")
@click.option("--list-only", is_flag=True, help="Only list the releases that would be searched.")
@options.cluster()
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=Path("runs/bisect"),
              show_default=True, metavar="DIR", help="Keeps the log, and the baseline of every release.")  # fmt: skip
@options.discard()
@options.json_file()
@options.verbosity()
@options.color()
def command(
    asked: options.Asked,
    package: str,
    good: str,
    bad: str,
    beside: tuple[str, ...],
    pre: bool,
    check: str,
    replay: Path | None,
    list_only: bool,
    cluster: str,
    folder: Path,
    discard: bool,
    json_file: str | None,
    verbose: bool,
    quiet: bool,
    color: str,
) -> int:
    """Search the releases of a package for the first whose traces are no longer those of the good one.

    A release that cannot be installed cannot tell, and is gone round. Exit code 0 where the release is found, 1 where
    only a range is, or nothing changes at all.
    """
    from parity.api.bisect import bisect, candidates_between
    from parity.baseline.bisection import Decision, Range
    from parity.cli.console import console, show_kept, write_answer
    from parity.cli.watching import watching
    from parity.report.drift import drift_tables
    from parity.report.upgrade import WORDING, bisected_summary, bisected_to_json, decision_line, notes_of

    searched = Range(package, good, bad, beside, pre)
    screen = console(color, stderr=json_file == "-")
    aside = console(color, stderr=True)
    if list_only:
        releases = candidates_between(searched)
        if json_file:
            write_answer(json_file, list(releases))
        if json_file != "-":
            screen.print("\n".join(releases), markup=False)
        return 0

    def on_decided(decision: Decision, suspected: int) -> None:
        if not quiet:
            aside.print(f"{package} {decision_line(decision)}; was one of {suspected}", markup=False)

    with watching(aside, quiet) as watcher:
        found = bisect(
            searched,
            **asked.words,
            check=check,
            replay=replay,
            cluster=cluster,
            output=folder,
            discard=discard,
            on_build=watcher.on_build,
            on_done=watcher.on_done,
            on_decided=on_decided,
        )
    if json_file:
        write_answer(json_file, bisected_to_json(found))
    if not quiet:
        if found.step is not None:
            for table in drift_tables(found.step.checked, WORDING, verbose=verbose):
                screen.print(table)
            for note in notes_of(found.step):
                screen.print(f"note: {note}", markup=False, style="yellow")
        show_kept(screen, folder)
    screen.print(bisected_summary(found), markup=False, style="red" if found.exit_code else "green")
    return found.exit_code
