"""``parity migrate``."""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli import options


@click.command("migrate", short_help="Carry a checkpoint, optimizer and all, from Keras to torch or back.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="FRAMEWORK", help="torch or keras.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="The file to write: of torch.save, or a whole .keras model.")  # fmt: skip
@click.option("--like", type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint of the target, for its names and layers; Keras needs one.")  # fmt: skip
@click.option("--map", "map_file", type=click.Path(path_type=Path), metavar="FILE",
              help="TOML: which parameter of the target is which of the checkpoint.")  # fmt: skip
@click.option("--certificate", type=click.Path(path_type=Path), metavar="DIR",
              help="Hold what was handed over against the side that goes on: a run and its certificate.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
              help="Of the certificate.")  # fmt: skip
@options.json_file()
def command(
    checkpoint: Path,
    to: str,
    output: Path,
    like: Path | None,
    map_file: Path | None,
    certificate: Path | None,
    steps: int,
    json_file: str | None,
) -> int:
    """Write CHECKPOINT, a whole .keras model or a file of torch.save with model and optimizer, as another framework's.

    Weights, m, v, vmax, step count and hyperparameters, transposed where the other lays its kernels out otherwise, and
    with the optimizer whose epsilon stands where it stood: torch's own or parity.bridge.KerasAdam, Keras's own or
    parity.bridge.TorchAdam. Exit code 1 where a certificate was asked for and cannot be issued.
    """
    from parity.api.handover import certify_handover
    from parity.case.pairing import read_map
    from parity.cli.console import write_answer
    from parity.live.migrate import migrate
    from parity.report.certificate_page import summary

    asked = None if map_file is None else read_map(map_file, "--map")
    recording = None if certificate is None else certificate / "uninterrupted"
    done = migrate(checkpoint, to, output, like=like, map=asked, recording=recording, steps=steps)
    click.echo(str(done), err=json_file == "-")
    told = {"pairs": done.pairs, "steps": done.steps, "carried": done.carried, "adapted": done.adapted,
            "left": done.left, "output": str(output)}  # fmt: skip
    code = 0
    if certificate is not None and recording is not None:
        found, paths = certify_handover(recording, to, certificate / "run")
        for path in paths:
            click.echo(str(path), err=json_file == "-")
        click.echo(summary(found), err=json_file == "-")
        told["certificate"] = summary(found)
        code = found.exit_code
    if json_file:
        write_answer(json_file, told)
    return code
