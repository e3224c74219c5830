"""``parity doctor``."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from parity.cli import options

PROBE = "constant"

CONFIRMING = "sizes or amsgrad or none-gradients or weight-decay or groups or long"
"""Cases with tails, tensors of one element, AMSGrad, missing gradients and every kind of decay."""


@click.command("doctor", short_help="Check this installation by running every implementation once.")
@click.option("--confirm", is_flag=True,
              help="Hold every implementation against its twin in all dtypes, as on a new machine.")  # fmt: skip
@options.json_file()
@options.color()
def command(confirm: bool, json_file: str | None, color: str) -> int:
    """Run the case 'constant' in float32 on every implementation, and say what works here.

    What every one is known to be, bit for bit, was confirmed on some processors and instruction sets; it is said
    whether this is one of them. Exit code 1 where one does not work, or a claim that was confirmed does not hold;
    with --confirm, where any claim does not.
    """
    from parity.api.report import PAGE
    from parity.api.run import run
    from parity.baseline.environments.installs import kept_environments
    from parity.case.catalogue import shipped_cases
    from parity.cli.console import console, write_answer
    from parity.core.environment import MACHINE, together
    from parity.engine.accounts import claims_here
    from parity.implementations.registry import shipped_implementations
    from parity.report.html.page import missing
    from parity.report.html.templates import lacking_line
    from parity.report.terminal import doctor_table, environment_table

    screen = console(color, stderr=json_file == "-")
    with tempfile.TemporaryDirectory(prefix="parity-") as place:
        outcome = run(
            [] if confirm else [shipped_cases() / f"{PROBE}.toml"],
            # By their names, as a claim of what is run on request only is a claim too.
            tuple(shipped_implementations()) if confirm else (),
            dtypes=[] if confirm else ["float32"],
            output=Path(place) / "run",
            keyword=CONFIRMING if confirm else PROBE,
        )
    # What fails in one cell and not in another is no sign of an installation that does not work.
    tried = {one.name: one for cell in reversed(outcome.cells) for one in cell.outcomes}
    worked = {one.name: one for cell in outcome.cells for one in cell.outcomes if one.failure is None}
    outcomes = [worked.get(name, one) for name, one in tried.items()]
    claims = claims_here(outcome)
    environment = {**outcome.environment, MACHINE: together([*outcome.workers.values()])[0][MACHINE]}
    lacking = missing()
    folder, kept = kept_environments()
    if json_file:
        write_answer(
            json_file,
            {
                "environment": environment,
                "page_lacks": list(lacking),
                "environments": {"folder": str(folder), "kept": kept},
                "implementations": {one.name: one.failure.reason if one.failure else "works" for one in outcomes},
                "claims": [asdict(one) for one in claims],
            },
        )
    screen.print(environment_table(environment))
    screen.print(doctor_table(outcomes, claims))
    if lacking:
        screen.print(lacking_line(PAGE, lacking), markup=False)
    if kept:
        screen.print(f"built environments kept in {folder}: {kept}; deleting them frees their room", markup=False)
    works = all(one.failure is None for one in outcomes)
    return 0 if works and not any(one.broken and (confirm or not one.unconfirmed) for one in claims) else 1
