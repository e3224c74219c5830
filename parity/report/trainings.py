"""Two recorded trainings in words: on a terminal, in Markdown and as JSON values; what proves it, then the sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from parity.comparison.distance import Distance
from parity.comparison.recordings import CLOSED, Tensor
from parity.explain.likeness import ROUNDING, Gradient, Likeness, factor_text, meaning_of
from parity.explain.trainings import Trainings
from parity.report.figures import counted, steps_text, ulp_text
from parity.report.markup import escape, printable, table

MOST = 12
"""Rows of a table on a terminal, where the rest is told in the JSON, and of one on a page, where it is folded."""

MOST_ROWS = 200
"""Rows of a table on a page, those that are folded among them."""

LONG = 20
"""Characters from which a name may take two lines."""

MOST_NAMES = 3
"""Of tensors that another could be as well."""

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""Steps of the curve that are shown, beside the last one."""

SEVERITY = (Likeness.NOT_FINITE, Likeness.UNLIKE, Likeness.PERMUTED, Likeness.FACTOR, Likeness.ROUNDING, Likeness.NOISE,
            Likeness.EQUAL, Likeness.ABSENT)  # fmt: skip
"""Worst first."""

GRADIENT_HEADS = ("actual", "expected", "likeness", "factor", "apart", "ULP")
START_HEADS = ("actual", "expected", "of", "ULP", "largest", "")
CHOICE_HEADS = ("choice", "actual", "expected", "alone", "on expected")
CURVE_HEADS = ("step", "largest", "in lr", "optimizer", "gradients", "noise floor")
TENSOR_HEADS = ("tensor", "apart from", "w in lr", "w", "m", "v", "gradients")
PAIR_HEADS = ("actual", "shape", "expected", "shape", "by", "could also be")

WORDS = ("actual", "expected", "likeness", "apart from", "shape", "by", "could also be", "of", "")
"""Columns that hold no figure."""

HOW = {"value": "initial value", "layer": "layer", "name": "name", "order": "order", "map": "map"}


def fact_rows(found: Trainings) -> Iterator[tuple[str, str, str]]:
    """What each training is."""
    sides = found.actual, found.expected
    for name, told in (
        ("recording", [one.name for one in sides]),
        ("optimizer", [one.optimizer.rpartition(".")[2] for one in sides]),
        ("framework", [_versions(one.framework, one.versions) for one in sides]),
        ("device", [one.device for one in sides]),
        ("steps", [f"{one.steps:,}" for one in sides]),
        ("counted before", [f"{one.counted:,}" for one in sides]),
        ("parameters", [f"{one.parameters:,}" for one in sides]),
    ):
        yield name, told[0], told[1]


def _versions(framework: str, versions: Any) -> str:
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return told if framework in versions else f"{framework}, {told}"


def start_rows(found: Trainings) -> list[tuple[str, ...]]:
    """Tensors that begin apart."""
    return [
        (one.actual, one.expected, one.quantity, _ulp(one.ulp), f"{one.largest:.3g}",
         "equal as they lie: not transposed" if one.untransposed else "")
        for one in found.starts
    ]  # fmt: skip


def worst_first(gradients: Iterable[Gradient]) -> list[Gradient]:
    """By likeness, then by how far they are apart."""
    return sorted(
        gradients, key=lambda one: (SEVERITY.index(one.likeness), -one.apart if one.apart == one.apart else 0)
    )


def gradient_row(one: Gradient) -> tuple[str, ...]:
    """A tensor at the step in question; figures only where they mean something."""
    means = one.likeness in (Likeness.FACTOR, Likeness.ROUNDING, Likeness.EQUAL)
    factor = factor_text(one.factor) if means and math.isfinite(one.factor) else ""
    apart = f"{one.apart:.2g}" if math.isfinite(one.apart) else ""
    absent = one.likeness is Likeness.ABSENT
    return one.actual, one.expected, str(one.likeness), factor, apart, "" if absent else _ulp(one.ulp)


def gradient_rows(found: Trainings) -> list[tuple[str, ...]]:
    """Every tensor at the step in question, worst first."""
    return [gradient_row(one) for one in worst_first(found.gradients)]


def factor_line(found: Trainings) -> str:
    """What a factor that all gradients have in common usually comes from; empty where there is none."""
    factors = {factor_text(one.factor) for one in found.gradients if one.likeness is Likeness.FACTOR}
    told = meaning_of(found.gradients[0].factor) if len(factors) == 1 else ""
    if not told or any(one.likeness is not Likeness.FACTOR for one in found.gradients):
        return ""
    return f"a factor of {factors.pop()} in every tensor: {told}"


def gradients_hint(found: Trainings) -> str:
    """Which step is shown, and how to read it."""
    why = "the first" if found.step == found.steps.first else "the first whose gradients part on equal weights"
    told = "; the weights before it differ, so that they need not be alike" if found.starts else ""
    return (
        f"Step {found.step:,}, {why}{told}. Worst first. Factor: by which actual is larger than expected; apart: what "
        f"the best factor leaves, relative, in the norm of the tensor. Up to {ROUNDING:g} is called rounding."
    )


def choice_rows(found: Trainings) -> list[tuple[str, ...]]:
    """What the optimizers differ in, and what each choice alone makes of the weights at the end."""
    choices = () if found.optimizers is None else found.optimizers.choices
    return [
        (one.name, one.actual, one.expected, steps_text(one.steps), steps_text(one.steps_expected)) for one in choices
    ]


def known_text(found: Trainings) -> str:
    """How well the optimizers are understood."""
    if found.optimizers is None:
        return f"of the optimizers nothing can be told: {found.why_not}"
    told = ["to the last bit" if one == 0 else f"to within {steps_text(one)}" for one in found.optimizers.known]
    same = f"both {told[0]}" if told[0] == told[1] else f"actual {told[0]}, expected {told[1]}"
    return f"each is reproduced from what it was given: {same}"


def remedy_text(found: Trainings) -> str:
    """What to set on the side of `actual`, and what is left then; empty where there is nothing to set."""
    if found.optimizers is None or not found.optimizers.advice:
        return ""
    advice = found.optimizers.advice
    return f"{advice[:1].upper()}{advice[1:]}; {steps_text(found.optimizers.left)} are left then"


def curve_rows(found: Trainings) -> list[tuple[str, ...]]:
    """Some steps of the curve and the last one."""
    last = found.curve[-1].number if found.curve else 0
    first = found.curve[0].number if found.curve else 0
    return [
        (f"{one.number:,}", f"{one.largest:.3g}", f"{one.lr:.3g}", *_shares(one.largest, one.optimizer, one.gradients),
         f"{one.floor:.2g}")
        for one in found.curve
        if one.number in SHOWN or one.number in (first, last)
    ]  # fmt: skip


def _shares(largest: float, optimizer: float, gradients: float) -> tuple[str, str]:
    """Nothing has a share of no difference."""
    return (_percent(optimizer), _percent(gradients)) if largest else ("", "")


def _percent(share: float) -> str:
    # What is rounded to nothing has no sign.
    return f"{round(100 * share, 1) + 0.0:.1f} %"


def tensor_rows(found: Trainings) -> list[tuple[str, ...]]:
    """Every pair at its worst step, the farthest weights first."""
    rows = []
    for one in sorted(found.tensors, key=_farthest):
        told = {distance.quantity: distance for distance in one.distances}
        firsts = [distance.first.step for distance in one.distances if distance.first is not None]
        since = f"step {min(firsts):,}" if firsts else "never"
        worst, size = told["w"].worst_max_abs, _lr(one)
        lr = (f"{steps_text(size)}, step {worst.step:,}" if worst.value else "0 lr") if math.isfinite(size) else ""
        rows.append((one.actual, since, lr, *(_worst(told.get(name)) for name in ("w", "m", "v", "gradients"))))
    return rows


def _farthest(one: Tensor) -> float:
    return -_lr(one) if math.isfinite(_lr(one)) else -math.inf


def _lr(one: Tensor) -> float:
    """The largest difference of its weights in units of lr."""
    worst = next(distance.worst_max_abs.value for distance in one.distances if distance.quantity == "w")
    return worst / one.lr if worst and one.lr else 0.0 if not worst else math.nan


def _worst(one: Distance | None) -> str:
    return "" if one is None else ulp_text(int(one.worst_max_ulp.value))


def pair_rows(found: Trainings) -> list[tuple[str, ...]]:
    """Which tensor is which."""
    pairing = found.pairing
    return [
        (one.actual, _shape(one.shape), one.expected,
         _shape(one.shape_expected) + (", transposed" if one.turned else ""), HOW[one.by],
         _names([other for other in pairing.ambiguous.get(one.actual, ()) if other != one.expected]))
        for one in pairing.pairs
    ]  # fmt: skip


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def pairing_text(found: Trainings) -> str:
    """How many tensors were compared."""
    turned = sum(one.turned for one in found.pairing.pairs)
    told = f"{counted(len(found.pairing.pairs), 'parameter')} in common"
    return f"{told}, {turned} of them transposed" if turned else told


def alone_lines(found: Trainings, most: int = MOST) -> Iterator[str]:
    """Tensors that were compared with none."""
    for side, names in zip(("actual", "expected"), found.pairing.alone, strict=True):
        if names:
            more = f" and {len(names) - most:,} more" if len(names) > most else ""
            yield f"only in {side}: {', '.join(names[:most])}{more}"


def broken_line(found: Trainings) -> str:
    """Where numbers cease to be numbers; empty where they do not."""
    one = found.broken
    if one is None:
        return ""
    where = "both trainings" if one.side == "both" else f"{one.side} alone"
    return f"NaN or inf from step {one.step:,} on, first in {one.quantity} of {one.parameter}, in {where}"


def warnings(found: Trainings) -> list[str]:
    """What has to be known before a figure is read."""
    return [line for line in (broken_line(found), *alone_lines(found)) if line]


def shares_label(found: Trainings) -> str:
    """What the upper field shows, for those who cannot see it."""
    last = found.curve[-1]
    told = _shares(last.largest, last.optimizer, last.gradients)
    return f"After step {last.number:,}: optimizer {told[0] or 'nothing'}, gradients {told[1] or 'nothing'}"


def sizes_label(found: Trainings) -> str:
    """What the lower field shows, for those who cannot see it."""
    last = found.curve[-1]
    return f"After step {last.number:,}: {steps_text(last.lr)} apart, noise floor {steps_text(last.floor)}"


def trainings_on_terminal(found: Trainings) -> Iterator[RenderableType]:
    """In the order in which one looks for a cause: start, gradients, optimizers, shares; the answer stands last."""
    yield Text(pairing_text(found))
    for line in alone_lines(found):
        yield Text(printable(line), style="yellow")
    ambiguous = found.pairing.ambiguous
    for name, others in list(ambiguous.items())[:MOST]:
        yield Text(printable(f"{name} could be {' or '.join(others)}; --map settles it"), style="yellow")
    if len(ambiguous) > MOST:
        yield Text(f"and {len(ambiguous) - MOST:,} more could be others", style="yellow")
    if broken_line(found):
        yield Text(printable(broken_line(found)), style="bold red")
    if found.starts:
        yield _table("they start apart", START_HEADS, start_rows(found))
    notable = [one for one in found.gradients if not one.alike]
    rows = [gradient_row(one) for one in worst_first(notable or found.gradients)]
    yield _table(f"gradients of step {found.step:,}, actual / expected", GRADIENT_HEADS, rows)
    if factor_line(found):
        yield Text(factor_line(found))
    yield Text(known_text(found))
    if choice_rows(found):
        yield _table(
            "both optimizers on the gradients of actual, and on those of expected", CHOICE_HEADS, choice_rows(found)
        )
    if found.curve:
        yield _table("difference of the weights", CURVE_HEADS, curve_rows(found))
    yield Text(printable(found.sentence), style="bold green" if found.alike else "bold red")


def trainings_to_json(found: Trainings) -> dict[str, Any]:
    """Everything but the places of the elements; what is no number comes as text."""
    told = asdict(found)
    for pair in told["pairing"]["pairs"]:
        del pair["place"]
    return {**_plain(told), "mode": CLOSED}


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float():
            return value if math.isfinite(value) else str(value)
        case _:
            return value


def render_trainings(found: Trainings) -> str:
    """report.md."""
    sections = [
        f"# Two trainings\n\n**{escape(capital(found.sentence))}.**",
        *(f"> **{escape(capital(line))}.**" for line in warnings(found)),
        table(["", "actual", "expected"], [list(map(escape, row)) for row in fact_rows(found)]),
        "One **ULP** is the distance from a floating-point number to its neighbour in the stored dtype; **lr** is the "
        "largest step size of *expected*.",
        _section("How they start", START_HEADS, start_rows(found), "All tensors begin with the same bits."),
        _section(
            f"Gradients of step {found.step:,}",
            GRADIENT_HEADS,
            gradient_rows(found),
        ),
        f"{capital(factor_line(found))}." if factor_line(found) else "",
        f"## The optimizers\n\n{escape(capital(known_text(found)))}.",
        _rows(CHOICE_HEADS, choice_rows(found)) if found.optimizers else "",
        f"{escape(remedy_text(found))}." if remedy_text(found) else "",
        _section("Whose the difference is", CURVE_HEADS, curve_rows(found)) if found.curve else "",
        _section("Tensor by tensor, at the worst step", TENSOR_HEADS, tensor_rows(found)),
        _section(f"Which is which: {pairing_text(found)}", PAIR_HEADS, pair_rows(found)),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], none: str = "") -> str:
    return f"## {title}\n\n{_rows(heads, rows) or none}"


def told_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows without the columns that are empty in every row."""
    kept = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    return [heads[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    heads, rows = told_columns(heads, rows)
    more = f"\n\nAnd {len(rows) - MOST_ROWS:,} more, in trainings.json." if len(rows) > MOST_ROWS else ""
    return table(heads, [list(map(escape, row)) for row in rows[:MOST_ROWS]]) + more


def capital(text: str) -> str:
    """A text that begins a sentence."""
    return text[:1].upper() + text[1:]


def _ulp(ulp: int) -> str:
    return ulp_text(ulp).removesuffix(" ULP")


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    heads, rows = told_columns(heads, rows)
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, head in enumerate(heads):
        found.add_column(head, justify="left" if place < 2 else "right")
    for row in rows[:MOST] if len(rows) > 2 * MOST else rows:
        found.add_row(*(Text(printable(one)) for one in row))
    if len(rows) > 2 * MOST:
        found.caption = f"and {len(rows) - MOST} more (--json)"
    return found
