"""``parity doctor``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from parity.cli import options

PROBE = "constant"


@click.command("doctor", short_help="Check this installation by running every implementation once.")
@options.json_file()
@options.color()
def command(json_file: str | None, color: str) -> int:
    """Run the case 'constant' in float32 on every implementation, and say what works here."""
    from parity.api.report import PAGE
    from parity.api.run import run
    from parity.baseline.environments.installs import kept_environments
    from parity.case.catalogue import shipped_cases
    from parity.cli.console import console, write_answer
    from parity.report.html.page import missing
    from parity.report.html.templates import lacking_line
    from parity.report.terminal import doctor_table, environment_table

    screen = console(color, stderr=json_file == "-")
    with tempfile.TemporaryDirectory(prefix="parity-") as place:
        outcome = run(
            [shipped_cases() / f"{PROBE}.toml"],
            dtypes=["float32"],
            output=Path(place) / "run",
            keyword=PROBE,
        )
    cell = outcome.cells[0]
    lacking = missing()
    folder, kept = kept_environments()
    if json_file:
        write_answer(
            json_file,
            {
                "environment": outcome.environment,
                "page_lacks": list(lacking),
                "environments": {"folder": str(folder), "kept": kept},
                "implementations": {one.name: one.failure.reason if one.failure else "works" for one in cell.outcomes},
            },
        )
    screen.print(environment_table(outcome.environment))
    screen.print(doctor_table(cell.outcomes))
    if lacking:
        screen.print(lacking_line(PAGE, lacking), markup=False)
    if kept:
        screen.print(f"built environments kept in {folder}: {kept}; deleting them frees their room", markup=False)
    return 0 if all(one.failure is None for one in cell.outcomes) else 1
