"""``parity atlas``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("atlas", short_help="One page of what releases changed, since when and why.")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("-o", "--output", "output", type=click.Path(path_type=Path), default=Path("runs/atlas"),
              show_default=True, metavar="DIR", help="Gets atlas.md and atlas.html.")  # fmt: skip
@options.json_file()
def command(folders: tuple[Path, ...], output: Path, json_file: str | None) -> int:
    """Write one page from what parity matrix, bisect and upgrade keep in FOLDERs; nothing is recorded.

    Each folder is a line of releases, and each release is held against the one before it. What was not recorded is
    said so. Exit code 0 for a page, whatever it says; 5 where no two releases were recorded.
    """
    from parity.api.atlas import STEM, atlas
    from parity.cli.console import error_line, write_answer
    from parity.report.atlas import atlas_to_json, headline
    from parity.report.html.templates import lacking_line, missing

    found = atlas(folders, output)
    aside = json_file == "-"
    if json_file:
        write_answer(json_file, atlas_to_json(found))
    click.echo(str(output / f"{STEM}.md"), err=aside)
    if missing():
        error_line(lacking_line(f"{STEM}.html", missing()))
    else:
        click.echo(str(output / f"{STEM}.html"), err=aside)
    click.echo(headline(found), err=aside)
    return 0
