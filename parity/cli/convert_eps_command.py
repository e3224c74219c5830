"""``parity convert-eps``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from parity.cli import options

if TYPE_CHECKING:
    from parity.adam.epsilon_conversion import Candidate, Conversion

FORMULAS = {
    ("outside", "hat"): "exact at step t: hat = outside * sqrt(1 - beta2^t)",
    ("hat", "outside"): "exact at step t: outside = hat / sqrt(1 - beta2^t)",
    ("outside", "inside"): "exact for one v_hat: inside = outside^2 + 2 * outside * sqrt(v_hat)",
    ("inside", "outside"): "exact for one v_hat: outside = sqrt(v_hat + inside) - sqrt(v_hat)",
    ("hat", "inside"): "exact for one v_hat at step t: inside = e^2 + 2 * e * sqrt(v_hat), e = hat / sqrt(1 - beta2^t)",
    ("inside", "hat"): "exact for one v_hat at step t: "
                       "hat = (sqrt(v_hat + inside) - sqrt(v_hat)) * sqrt(1 - beta2^t)",
}  # fmt: skip


@click.command("convert-eps", short_help="Carry an epsilon to another convention.")
@click.argument("eps", type=float)
@click.option("--from", "source", required=True, metavar="NAME", help="Whose eps it is: a convention or a framework.")
@click.option("--to", "target", required=True, metavar="NAME", help="Who is to have it, likewise.")
@click.option("--beta2", type=float, default=0.999, show_default=True, metavar="B")
@click.option("--steps", type=int, default=10_000, show_default=True, metavar="N", help="Length of the run.")
@click.option("--threshold", type=float, default=1e-3, show_default=True, metavar="D",
              help="Differences of an update count from here on, in units of lr.")  # fmt: skip
@options.json_file()
@options.color()
def command(
    eps: float, source: str, target: str, beta2: float, steps: int, threshold: float, json_file: str | None, color: str
) -> int:
    """Carry EPS from where one Adam adds it to where another does.

    NAME is outside, hat or inside ('parity list conventions' shows the formulas), or one that has
    it: paper, torch, optax, keras, tensorflow. Says what to write at each step, which constant is
    the best one, and for which gradients and steps it matters at all.
    """
    from dataclasses import asdict

    from parity.adam.epsilon import convention_named
    from parity.adam.epsilon_conversion import conversion
    from parity.cli.console import console, write_answer

    found = conversion(
        eps, convention_named(source), convention_named(target), beta2=beta2, steps=steps, threshold=threshold
    )
    if json_file:
        write_answer(json_file, asdict(found))
        if json_file == "-":
            return 0
    screen = console(color)
    for part in _answer(found):
        screen.print(part, soft_wrap=isinstance(part, str))
    return 0


def _answer(found: Conversion) -> Iterable[object]:
    from parity.cli.console import plain_table

    yield f"eps {found.eps:g} from {found.source} to {found.target}, beta2 {found.beta2:g}, {found.steps:,} steps"
    if found.source is found.target:
        yield "The same convention: keep the number."
        return
    moves = "hat" in (found.source, found.target)
    yield FORMULAS[found.source, found.target]
    yield ""
    yield plain_table(
        [
            {
                "step": f"{row.step:,}" if moves else "any",
                **({} if row.exact is None else {"exact eps": _number(row.exact)}),
                "same eps: off by": _steps(row.same),
                f"over {found.threshold:g} lr for |g|": _ranges(row.matters_same),
                "best: off by": _steps(row.best),
                f"over {found.threshold:g} lr for": _ranges(row.matters_best),
            }
            for row in (found.rows if moves else found.rows[:1])
        ]
    )
    yield ""
    last = f"exact at step {found.steps:,}"
    vanishing = last + (", |g| -> 0" if found.rows[0].exact is None else "")
    yield plain_table(
        [
            _candidate("the same eps", found.same),
            _candidate("best: least off at worst", found.best),
            _candidate(vanishing, found.vanishing),
        ]
    )
    yield ""
    yield "Off by: the largest difference of one update, in units of lr, if every gradient is g; |g| stands for"
    yield "sqrt(v_hat). For gradients that change, it is |m_hat| / sqrt(v_hat) times as much."
    if found.settled is None:
        yield "The conventions never meet: no constant, and no number per step, is right for all gradients."
    else:
        limit = f"{found.threshold:g} lr at most"
        yield f"From step {found.settled:,} on the same eps is off by {limit}, whatever the gradient."


def _candidate(name: str, candidate: Candidate) -> dict[str, str]:
    gap = candidate.gap
    return {
        "constant": name,
        "eps": _number(candidate.eps),
        "off by": _steps(gap.difference),
        "at |g|": f"{gap.gradient:.2g}",
        "at step": f"{gap.step:,}",
    }


def _number(eps: float) -> str:
    return f"{eps:.7g}"


def _steps(difference: float) -> str:
    from parity.report.figures import steps_text

    return steps_text(difference)


def _ranges(ranges: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{low:.1e} to {high:.1e}" for low, high in ranges) or "none"
