"""A run on a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from parity.case.expectation import Kind
from parity.comparison.distance import Distance
from parity.comparison.verdict import Verdict
from parity.engine.accounts import ClaimHere, claims_broken, count_answers, sampled_elements
from parity.engine.findings import Finding, Severity, Topic
from parity.engine.kinds import Kinds
from parity.engine.matrix import WORST_FIRST, build_matrix
from parity.engine.power import Power
from parity.engine.record import PairVerdict, Run
from parity.engine.result import EXPLAINED, SAMPLED, Outcome
from parity.engine.workers import logs_of
from parity.report import kinds
from parity.report.figures import entry_lines, power_text, steps_text, ulp_text, value_text
from parity.report.markup import on_screen
from parity.report.reproduction import page_command

STYLES = {
    Kind.IDENTICAL: "green",
    Kind.WITHIN: "green",
    Kind.EXPLAINED: "cyan",
    Kind.DIVERGED: "yellow",
    Kind.NOT_COMPARABLE: "magenta",
    Kind.CRASHED: "red",
    Kind.SKIPPED: "dim",
}

LONGEST_MISSED = 3
MOST_FOUND = 3

FINDING_STYLES = {Severity.ALARM: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def matrix_table(run: Run) -> Table:
    """Pairs by dtype with verdicts, first diverging step, worst ULP and worst difference in units of lr."""
    matrix = build_matrix(run)
    table = Table(title="Verdicts by pair and dtype (worst of all cases)", title_justify="left", show_lines=True)
    table.add_column("actual against expected")
    for dtype in matrix.dtypes:
        table.add_column(dtype, justify="right")
    for (actual, expected), row in matrix.rows.items():
        cells = []
        for dtype in matrix.dtypes:
            if dtype not in row:
                cells.append("")
                continue
            entry = row[dtype]
            style = "bold red" if entry.as_expected < entry.cases else STYLES[entry.worst]
            told = on_screen("\n".join(entry_lines(entry)))
            cells.append(f"[{style}]{told}[/{style}]")
        table.add_row(f"{on_screen(actual)}\n[dim]{on_screen(expected)}[/dim]", *cells)
    return table


def verdict_table(verdicts: Sequence[PairVerdict]) -> Table:
    """One row per case, dtype and pair."""
    table = Table(title=f"{len(verdicts):,} pair(s)", title_justify="left")
    for column in ("case", "dtype", "pair", "verdict"):
        table.add_column(column, overflow="fold")
    table.add_column("figures", overflow="fold", ratio=1)
    for one in verdicts:
        verdict = one.verdict
        style = STYLES[verdict.kind] if verdict.as_expected else "bold red"
        table.add_row(
            on_screen(one.case),
            one.dtype,
            f"{on_screen(one.actual)}\n[dim]{on_screen(one.expected)}[/dim]",
            f"[{style}]{verdict.kind}[/{style}]",
            on_screen(verdict.reason),
        )
    return table


def kinds_told(found: Kinds) -> Iterator[str | Table]:
    """How far kinds of machines are apart: a sentence, and a table where there are several."""
    yield on_screen(kinds.introduction(found))
    if found.rows:
        table = Table(box=None, pad_edge=False)
        for column in kinds.HEAD:
            table.add_column(column, overflow="fold")
        for row in kinds.rows(found):
            table.add_row(*map(on_screen, row))
        yield table


def found_table(run: Run, folder: Path, *, every: bool) -> Table:
    """What a run found, worst first, and where to look: stale expectations and findings, at most three without `every`.

    Without `every` a finding that makes no run red is its title alone, but for a claim that does not hold.
    """
    stale = [("[bold red]stale[/bold red]", on_screen(line)) for line in run.stale]
    at_length = [every or one.severity is Severity.ALARM or one.topic is Topic.CLAIM for one in run.findings]
    found = [*stale, *map(_finding, run.findings, at_length)]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, told in found if every else found[:MOST_FOUND]:
        table.add_row(kind, told)
    if len(found) > MOST_FOUND and not every:
        table.add_row("", f"[dim]and {len(found) - MOST_FOUND:,} more in the report[/dim]")
    for log in _logs(run, folder):
        table.add_row("[dim]log[/dim]", on_screen(f"{log} (--traceback shows all lines of an error)"))
    table.add_row("[dim]report[/dim]", on_screen(str(folder / "report.md")))
    table.add_row("[dim]page[/dim]", on_screen(page_command(folder)))
    return table


def _logs(run: Run, folder: Path) -> Iterator[Path]:
    """Those of the workers in which somebody crashed."""
    crashed = dict.fromkeys(
        one.name for cell in run.cells for one in cell.outcomes if one.failure and one.failure.verdict is Kind.CRASHED
    )
    for worker in dict.fromkeys(name if name in run.workers else name.partition(".")[0] for name in crashed):
        yield from logs_of(folder, worker)


def _finding(finding: Finding, whole: bool) -> tuple[str, str]:
    style = FINDING_STYLES[finding.severity]
    told = f"{finding.title}: {finding.detail}" if whole else finding.title
    return f"[{style}]{finding.severity}[/{style}]", on_screen(told)


def power_lines(run: Run, *, every: bool) -> Iterable[str]:
    """What the budgets of each case catch: every budget on a line, or every case with its weakest ones."""
    if not every and run.powers and all(one.unknown for one in run.powers):
        reasons = dict.fromkeys(one.unknown for one in run.powers)
        yield f"[dim]power unknown ({on_screen('; '.join(reasons))})[/dim]"
    elif every:
        for one in run.powers:
            told = on_screen(f"{one.case} {one.dtype}, {one.budget}: {power_text(one, LONGEST_MISSED)}")
            yield f"[{'yellow' if one.weak else 'dim'}]power[/] {told}"
    else:
        cases: dict[str, dict[str, list[Power]]] = {}
        for one in run.powers:
            cases.setdefault(one.case, {}).setdefault(one.dtype, []).append(one)
        for case, dtypes in cases.items():
            weakest = [min(powers, key=_strength) for powers in dtypes.values()]
            told = ", ".join(_weakest(one) for one in weakest)
            yield f"[dim]power[/dim] {on_screen(case)}: of the wrong Adams the weakest budget catches {told}"


def _weakest(power: Power) -> str:
    if power.unknown:
        return on_screen(f"an unknown number in {power.dtype} ({power.unknown})")
    told = f"{power.caught} of {power.applicable} in {power.dtype}"
    return f"[yellow]{told}[/yellow]" if power.weak else told


def _strength(power: Power) -> float:
    """Share of the wrong Adams that are caught; what is unknown comes before all others."""
    if power.unknown:
        return -1.0
    return power.caught / power.applicable if power.applicable else 1.0


def summary_line(run: Run) -> str:
    """The last line: how much was compared and how it came out."""
    counts = run.counts
    parts = [f"{counts.as_expected:,} of {counts.pairs:,} pairs as expected"]
    if run.stale:
        parts.append(f"{len(run.stale)} stale expectation(s)")
    if claims := claims_broken(run):
        parts.append(f"{len(claims)} claim{'s do' if len(claims) > 1 else ' does'} not hold")
    if not run.complete:
        parts.append(f"{run.stopped or 'incomplete'}: {counts.cells} of {counts.cells_planned} cells")
    answers = count_answers(run)
    if answers:
        parts.append(f"{answers['identical']:,} identical, {answers[EXPLAINED]:,} explained to the last bit")
    if answers[SAMPLED]:
        looked_at, elements = sampled_elements(run)
        parts.append(f"{answers[SAMPLED]:,} explained on {looked_at:,} of {elements:,} elements")
    parts.append(f"{counts.cells} cells, {counts.steps:,} steps, {counts.elements:,} elements compared")
    style = "green" if run.exit_code == 0 else "bold red"
    return f"[{style}]" + "; ".join(parts) + f"[/{style}]"


def verdict_line(verdict: Verdict) -> str:
    """A verdict in one line."""
    style = STYLES[verdict.kind] if verdict.as_expected else "bold red"
    return f"[{style}]{verdict.kind}[/{style}] {on_screen(verdict.reason)}"


def distance_table(distances: Sequence[Distance]) -> Table:
    """The distances of one pair."""
    table = Table()
    for column in (
        "quantity",
        "compared",
        "differing",
        "max abs",
        "max rel",
        "max ULP",
        "99 % ULP",
        "lr",
        "first differs",
    ):
        table.add_column(column, justify="left" if column in ("quantity", "first differs") else "right")
    for one in distances:
        steps = steps_text(one.worst_max_steps.value) if one.worst_max_steps else ""
        table.add_row(
            one.label, f"{one.compared:,}", f"{one.differing:,}", f"{one.worst_max_abs.value:.3g}",
            f"{one.worst_max_rel.value:.3g}", ulp_text(int(one.worst_max_ulp.value)),
            ulp_text(int(one.worst_p99_ulp.value)), steps, _first(one),
        )  # fmt: skip
    return table


def _first(distance: Distance) -> str:
    first = distance.first
    if first is None:
        return ""
    place = on_screen(f"step {first.step} {first.parameter}[{first.index}]")
    return f"{place}\nactual   {value_text(first.actual)}\nexpected {value_text(first.expected)}"


def environment_table(environment: dict[str, Any]) -> Table:
    """What surrounds a run."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items())
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        table.add_row(f"[dim]{on_screen(name)}[/dim]", on_screen(str(value)))
    return table


def doctor_table(outcomes: Sequence[Outcome], claims: Sequence[ClaimHere]) -> Table:
    """Which implementations work here, and what is known of their bits on such a machine."""
    table = Table(box=None, pad_edge=False)
    for column in ("implementation", "here", "bit by bit", "on"):
        table.add_column(column, overflow="fold")
    held = {one.implementation: one for one in claims}
    for one in outcomes:
        said = "[green]works[/green]" if one.failure is None else f"[red]{on_screen(one.failure.reason)}[/red]"
        claim = held.get(one.name)
        known = ("", "") if claim is None else (_claim(claim), on_screen(claim.machine))
        table.add_row(on_screen(one.name), said, *known)
    return table


def _claim(one: ClaimHere) -> str:
    looked = f"{one.broken or 'none'} of {one.compared:,} elements differ{'' if one.broken else 's'} from its twin"
    if one.unconfirmed:
        return f"[yellow]not confirmed on such a machine[/yellow] ({on_screen(one.unconfirmed)}); {looked}"
    return f"[{'red' if one.broken else 'green'}]confirmed[/]; {looked}"


HEAD = ("verdict", "pairs", "as expected", "elements compared")


def tally_lines(run: Run) -> Iterator[str]:
    """A table with a row for every verdict that was given, best first, and their sum."""
    tally: dict[Kind, list[int]] = defaultdict(lambda: [0, 0, 0])
    pairs = run.pairs()
    for one in run.verdicts:
        compared = sum(distance.compared for distance in pairs[one.place].distances)
        for place, amount in enumerate((1, int(one.verdict.as_expected), compared)):
            tally[one.verdict.kind][place] += amount
    rows = [(str(kind), *tally[kind]) for kind in reversed(WORST_FIRST) if kind in tally]
    total = ("total", *(sum(column) for column in list(zip(*rows, strict=True))[1:])) if rows else ("total", 0, 0, 0)
    told = [HEAD, *((name, *(f"{amount:,}" for amount in amounts)) for name, *amounts in (*rows, total))]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    for name, *figures in told:
        yield "  ".join(
            [name.ljust(widths[0]), *(one.rjust(width) for one, width in zip(figures, widths[1:], strict=True))]
        )


def alarm_lines(run: Run) -> Iterator[str]:
    """What makes a session red beside its tests."""
    if not run.counts.elements:
        yield "nothing was compared"
    yield from (f"stale: {line}" for line in run.stale)
    yield from (f"{one.severity}: {one.title}: {one.detail}" for one in run.findings if one.severity == "alarm")
