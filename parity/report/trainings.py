"""Two recorded trainings, on a terminal and as JSON values: what proves it, then the sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from parity.explain.trainings import BENIGN, Trainings

MOST = 12
"""Rows of a table; the rest is told in the JSON."""

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""Steps of the curve that are shown, beside the last one."""


def trainings_on_terminal(found: Trainings) -> Iterator[RenderableType]:
    """In the order in which one looks for a cause: start, gradients, optimizers, shares; the answer stands last."""
    yield from _pairing(found)
    if found.starts:
        apart = [(one.actual, one.expected, f"{one.ulp:,}", f"{one.largest:.3g}") for one in found.starts]
        yield _table("they start apart", ("actual", "expected", "ULP", "largest"), apart)
    notable = [one for one in found.gradients if one.likeness not in BENIGN]
    rows = [
        (one.actual, one.expected, str(one.likeness), f"{one.factor:.6g}", f"{one.apart:.2g}", f"{one.ulp:,}")
        for one in (notable or found.gradients)
    ]
    heads = ("actual", "expected", "likeness", "factor", "apart", "ULP")
    yield _table(f"gradients of step {found.step:,}, actual / expected", heads, rows)
    if found.optimizers is not None:
        known = " and ".join(
            "to the last bit" if one == 0 else f"to within {one:.2g} lr" for one in found.optimizers.known
        )
        yield Text(f"each is reproduced from what it was given: {known}")
        if found.optimizers.choices:
            chosen = [(one.name, one.actual, one.expected, f"{one.steps:.3g} lr") for one in found.optimizers.choices]
            yield _table(
                "both optimizers on the gradients of actual", ("choice", "actual", "expected", "alone"), chosen
            )
    elif found.why_not:
        yield Text(f"of the optimizers nothing can be told: {found.why_not}")
    if found.curve:
        last = found.curve[-1].number
        told = [one for one in found.curve if one.number in SHOWN or one.number == last]
        yield _table("difference of the weights", ("step", "largest", "in lr", "optimizer", "gradients"),
                     [(f"{one.number:,}", f"{one.largest:.3g}", f"{one.lr:.3g}", _share(one.optimizer),
                       _share(one.gradients)) for one in told])  # fmt: skip
    yield Text(found.sentence, style="bold green" if found.alike else "bold red")


def trainings_to_json(found: Trainings) -> dict[str, Any]:
    """Everything but the places of the elements."""
    told = asdict(found)
    for pair in told["pairing"]["pairs"]:
        del pair["place"]
        pair["turn"] = list(pair["turn"])
    told["mode"] = "closed"
    return told


def _pairing(found: Trainings) -> Iterator[RenderableType]:
    pairing = found.pairing
    turned = sum(one.turned for one in pairing.pairs)
    how = f", {turned} of them transposed" if turned else ""
    yield Text(f"{len(pairing.pairs)} parameters in common{how}")
    for side, names in zip(("actual", "expected"), pairing.alone, strict=True):
        if names:
            yield Text(f"only in {side}: {', '.join(names[:MOST])}", style="yellow")
    for name, others in pairing.ambiguous.items():
        yield Text(f"{name} could be {' or '.join(others)}; --map settles it", style="yellow")


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < 2 else "right")
    for row in rows[:MOST] if len(rows) > 2 * MOST else rows:
        table.add_row(*row)
    if len(rows) > 2 * MOST:
        table.caption = f"and {len(rows) - MOST} more (--json)"
    return table
