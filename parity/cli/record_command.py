"""``parity record``."""

from __future__ import annotations

from pathlib import Path

import click

NOTHING_RECORDED = 5


@click.command("record", short_help="Run a training script as it is, and record what its optimizers do.",
               context_settings={"ignore_unknown_options": False})  # fmt: skip
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("recordings/latest"), show_default=True,
              metavar="DIR", help="The folder of the recording; a second optimizer is recorded in DIR-2.")  # fmt: skip
@click.option("--first", type=int, default=1, show_default=True, metavar="N", help="The step with which it begins.")
@click.option("--steps", type=int, metavar="N", help="How many steps from there.  [all]")
@click.option("--every", type=int, default=1, show_default=True, metavar="N",
              help="Of those from there the first of N, to be compared, not replayed.")  # fmt: skip
@click.option("--last", type=int, metavar="N", help="The last N steps of the training.  [all]")
@click.option("--parameters", default="*", metavar="PATTERNS", help="Names to be kept, parted by '|'.  [all]")
@click.option("--elements", type=int, metavar="N", help="Of every tensor at most so many, the same everywhere.  [all]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the sample.")
@click.option("--no-moments", is_flag=True, help="Keep gradients and weights only.")
@click.option("--limit", metavar="SIZE", help="Such as 2GB, after which it ends and the training goes on.  [none]")
@click.option("--overwrite", is_flag=True, help="Replace a recording that lies there.")
def command(
    script: Path,
    arguments: tuple[str, ...],
    output: Path,
    first: int,
    steps: int | None,
    every: int,
    last: int | None,
    parameters: str,
    elements: int | None,
    seed: int,
    no_moments: bool,
    limit: str | None,
    overwrite: bool,
) -> int:
    """Run SCRIPT with ARGUMENTS as Python would, and record every Adam of torch or Keras that it makes.

    Options of the script stand behind '--'. Exit code: that of the script, 5 where it ended well and nothing was
    recorded.
    """
    from parity.live.record import RECORDABLE, wanted_of
    from parity.live.script import run_script

    wanted = wanted_of(first, steps, every, last, parameters, elements, seed, not no_moments, limit)
    ended = run_script(script, arguments, output, wanted, overwrite)
    made = ended.made
    for path, progress in made:
        if progress.steps:
            click.echo(f"{path}: {progress.steps:,} steps recorded", err=True)
    if not any(progress.steps for _, progress in made):
        click.echo(f"parity: {script} took no step with what can be recorded: {RECORDABLE}", err=True)
        return ended.code or NOTHING_RECORDED
    return ended.code
