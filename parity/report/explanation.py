"""An explanation on a terminal: the sentence first, then what proves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from parity.explain.causes import Family
from parity.explain.explanation import Answer, Explanation, SplitRow, Told, percent, sentence_of
from parity.explain.ladder import Rung
from parity.report.figures import choice_text, number_text, steps_text
from parity.report.markup import on_screen

STYLES = {Answer.IDENTICAL: "bold green", Answer.EXPLAINED: "bold cyan", Answer.UNEXPLAINED: "bold red"}

TERMS = {
    "rounding_actual": "rounding of A",
    "scalars_actual": "scalars as A forms them",
    "values": "hyperparameter values",
    "formula": "formula",
    "scalars_expected": "scalars as B forms them",
    "rounding_expected": "rounding of B",
    "total": "A - B",
}

SOURCES = {
    "claimed": "its twin",
    "found": "the twin of {like}",
    "convention": "a plain Adam of the convention it states",
    "nearest": "the nearest plain Adam; it states no convention, no twin is claimed",
}

MIXTURE = "a mixture of known forms, found"

COLUMNS = 6
"""Steps beside each other, so that a table fits 80 columns."""


def sentence_line(one: Explanation) -> str:
    """Case, dtype and the answer in one line."""
    style = STYLES[one.answer]
    return f"[bold]{on_screen(one.case)} {one.dtype}[/bold]: [{style}]{on_screen(one.sentence)}[/{style}]"


def blocks(one: Explanation, *, verbose: bool = False) -> Iterator[object]:
    """Everything there is to print, in order; verbose: every shown step, terms of no size, switches without effect."""
    yield ""
    yield sentence_line(one)
    yield _sides(one)
    if one.answer is Answer.IDENTICAL:
        return
    yield "\n[bold]Causes[/bold]"
    yield _causes(one)
    for quantity, unit in (("w", "units of lr"), ("m", "ULP"), ("v", "ULP")):
        rows = [row for row in one.split if row.quantity == quantity]
        if rows:
            lost = rows[-1].nonfinite
            note = f"; {lost:,} inf or NaN left out at the end" if lost else ""
            yield f"\n[bold]Where the difference of {quantity} comes from[/bold] (largest element, {unit}{note})"
            yield _split(rows, _other_formula(one), verbose=verbose)
    if one.ladder:
        yield "\n[bold]From A to B[/bold], one choice switched after another"
        yield _ladder(one.ladder, verbose=verbose)
        silent = [choice_text(rung.choice) for rung in one.ladder if rung.family is not None and not rung.changed]
        if silent and not verbose:
            yield f"[dim]changes no bit here: {', '.join(silent)}[/dim]"
    if not _other_formula(one):
        yield "\n[bold]Who is nearer[/bold] to the truth of its own convention, after the last step"
        yield _errors(one)
    yield ""
    yield from _meaning(one)
    for told in (one.actual, one.expected):
        if told.residual.differing and not told.formula:
            yield f"[dim]'parity identify' says which Adam {on_screen(told.implementation)} is.[/dim]"


def _sides(one: Explanation) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for letter, told in (("A", one.actual), ("B", one.expected)):
        table.add_row(
            letter, f"{on_screen(told.implementation)}  [dim]{on_screen(_convention(told))}[/dim]\n{_proof(told)}"
        )
        if told.formula:
            table.add_row("", Padding(on_screen(told.formula), (0, 0, 0, 2)))
    return table


def _other_formula(one: Explanation) -> frozenset[str]:
    """The sides ("actual", "expected") that differ from what they are held against by more than rounding.

    What they do otherwise is no rounding, and they are far from the truth of a convention that is not theirs.
    """
    named = {"actual": one.actual.implementation, "expected": one.expected.implementation}
    causes = [cause for cause in one.causes if cause.family is not Family.ROUNDING]
    others = {cause.evidence.get("implementation") for cause in causes}
    return frozenset(side for side, name in named.items() if name in others)


def _convention(told: Told) -> str:
    return f"eps {told.epsilon}, steps counted {told.step_count.replace('_', ' ')}"


def _proof(told: Told) -> str:
    twin = SOURCES[told.source].format(like=told.like) if told.like or told.source != "found" else MIXTURE
    twin += f" (left open: {told.left_open})" if told.left_open and told.residual.differing else ""
    left = told.residual
    compared = sum(each.compared for each in left.differences)
    how = "step by step" if left.lock_step else "from the start (m or v is hidden, or in another dtype)"
    if not left.differing:
        return f"[green]{on_screen(twin)}, {how}: 0 of {compared:,} elements differ[/green]"
    worst = next(each for each in left.differences if each.differing)
    first = worst.first
    where = f"; first in {worst.quantity} at step {first.step}, {first.parameter}[{first.index}]" if first else ""
    return f"[red]{on_screen(f'{twin}, {how}: {left.differing:,} of {compared:,} elements differ{where}')}[/red]"


def _causes(one: Explanation) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("share", justify="right")
    table.add_column("family", no_wrap=True)
    table.add_column("what", overflow="fold")
    for cause in one.causes:
        share = "" if cause.share is None else percent(cause.share)
        # With a ladder, its rungs say what exactly.
        detail = Text("" if one.ladder else f"\n{cause.detail}", "dim")
        table.add_row(share, str(cause.family), Text(sentence_of(cause.family)) + detail)
    return table


def _chosen(steps: list[int], verbose: bool) -> list[int]:
    if verbose or len(steps) <= COLUMNS:
        return steps
    last = len(steps) - 1
    return [steps[round(place * last / (COLUMNS - 1))] for place in range(COLUMNS)]


def _split(rows: list[SplitRow], other_formula: frozenset[str], *, verbose: bool) -> Table:
    steps = _chosen(sorted({row.step for row in rows}), verbose)
    figures = {(row.term, row.step): (row.max_steps or 0.0) if row.quantity == "w" else row.max_ulp for row in rows}
    table = Table(box=None, pad_edge=False)
    table.add_column("after step", no_wrap=True)
    for step in steps:
        table.add_column(f"{step:,}", justify="right", no_wrap=True)
    elsewise = {f"rounding_{side}": f"all else that {'A' if side == 'actual' else 'B'} does" for side in other_formula}
    for term, name in {**TERMS, **elsewise}.items():
        cells = [figures.get((term, step)) for step in steps]
        if cells[0] is None or (not verbose and not any(cells)):
            continue
        table.add_row(name, *(number_text(cell) for cell in cells), style="bold" if term == "total" else "")
    return table


def _ladder(rungs: tuple[Rung, ...], *, verbose: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("switched", overflow="fold", ratio=1)
    for column, justify in (("family", "left"), ("moves w", "right"), ("differing", "right"), ("of w", "right")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for rung in rungs:
        if rung.family is not None and not rung.changed and not verbose:
            continue
        detail = f"\n{rung.detail}".replace(" -> ", "\n-> ") if rung.detail else ""
        what = Text(choice_text(rung.choice)) + Text(detail, "dim")
        moved = "" if rung.family is None else steps_text(rung.moved)
        left = f"{rung.differing:,}" if rung.differing else "[bold green]0[/bold green]"
        table.add_row(what, str(rung.family or ""), moved, left, steps_text(rung.max_steps))
    return table


def _errors(one: Explanation) -> Table:
    last = max(row.step for row in one.errors)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("A: rms", "A: largest", "B: rms", "B: largest"):
        table.add_column(name, justify="right")
    table.add_column("nearer")
    for row in (row for row in one.errors if row.step == last):
        ours, theirs = row.actual_rms_ulp, row.expected_rms_ulp
        nearer = "same" if ours == theirs else "A" if ours < theirs else "B"
        figures = (row.actual_rms_ulp, row.actual_max_ulp, row.expected_rms_ulp, row.expected_max_ulp)
        table.add_row(row.quantity, *(f"{number_text(figure)} ULP" for figure in figures), nearer)
    return table


def _meaning(one: Explanation) -> Iterable[object]:
    meaning = one.meaning
    yield (
        f"[bold]Does it matter?[/bold] w differs by at most {steps_text(meaning.largest)} (step {meaning.step:,}); "
        f"by {steps_text(meaning.last)} after the last."
    )
    if meaning.noise_weights is None or meaning.noise_gradient is None:
        return
    yield (
        f"Noise floor by the same step: {steps_text(meaning.noise_weights)} from 1 ULP in every initial weight, "
        f"{steps_text(meaning.noise_gradient)} from 1 ULP in every first gradient."
    )
    if meaning.ratio is not None:
        yield f"The difference is {number_text(meaning.ratio)} times the noise floor."
