"""A run as report.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from parity.case.expectation import Kind
from parity.core.environment import MACHINE
from parity.engine.accounts import claims_broken, count_answers, sampled_elements
from parity.engine.findings import Finding, Severity
from parity.engine.matrix import Entry, Matrix, build_matrix
from parity.engine.power import Power
from parity.engine.record import PairVerdict, Run
from parity.engine.result import SAMPLED, PairResult
from parity.explain.explanation import Explanation
from parity.explain.headlines import Headlines
from parity.explain.ladder import Rung
from parity.numerics.formats import FORMATS
from parity.report import around, changes, kinds, names, twins
from parity.report.figures import choice_text, entry_lines, number_text, power_text, steps_text, ulp_text, value_text
from parity.report.markup import escape, table
from parity.report.panels.around import around as stages_of
from parity.report.panels.changes import Changes
from parity.report.plots import plot
from parity.report.plots.plot import Plots, Section


def answer_line(run: Run) -> str:
    """How many pairs are accounted for, as a sentence; empty where nothing was explained."""
    found = count_answers(run)
    if not found:
        return ""
    looked_at, elements = sampled_elements(run)
    part = f" {found[SAMPLED]:,} were explained on {looked_at:,} of {elements:,} elements." if found[SAMPLED] else ""
    return (
        f"Bit by bit: {found['identical']:,} pairs are identical, {found['explained']:,} differ and every differing "
        f"bit is accounted for by named causes, {found['unexplained']:,} are not fully explained.{part}"
    )


MEANING = """\
For every pair of two that stand for their frameworks, the case in which their weights part most, of those in which
every differing bit is accounted for. The **noise floor** is what a change of every initial weight, or of every first
gradient, by 1 ULP makes of the weights by the same step: a difference of that size is what rounding may do to any
training."""

LADDERS = """\
A **ladder** goes from the first Adam to the second: one choice after another is made as the second makes it, each on
its own way through all steps, and what still differs from the recorded second one is counted, over w, m and v (and
vmax) of every step. The last rung leaves 0 elements: nothing is left to explain."""


def headlines_section(headlines: Headlines) -> str:
    """What the headline pairs come to, then some ladders, folded; empty where there are no such pairs."""
    if not headlines.worst:
        return ""
    parts = ["### From one Adam to another", MEANING, _meanings(headlines.worst)]
    if headlines.ladders:
        parts += [LADDERS, *(_ladder(one) for one in headlines.ladders)]
    return "\n\n".join(parts)


def _meanings(worst: tuple[Explanation, ...]) -> str:
    dtypes = list(dict.fromkeys(one.dtype for one in worst))
    rows: dict[str, dict[str, str]] = {}
    for one in worst:
        rows.setdefault(_pair(one, "<br>"), {})[one.dtype] = _meaning(one)
    return table(["pair", *dtypes], [[pair, *(row.get(dtype, "") for dtype in dtypes)] for pair, row in rows.items()])


def _pair(one: Explanation, between: str) -> str:
    return f"{escape(one.actual.implementation)}{between}{escape(one.expected.implementation)}"


def _meaning(one: Explanation) -> str:
    floor = "" if one.meaning.ratio is None else f", noise floor {steps_text(one.meaning.noise)}"
    return f"{steps_text(one.meaning.largest)}{floor}<br>in {escape(one.case)}"


def _difference(one: Explanation) -> str:
    meaning = one.meaning
    told = f"{steps_text(meaning.largest)} at step {meaning.step:,}"
    if meaning.ratio is None:
        return told
    return f"{told}, which is {number_text(meaning.ratio)} times the noise floor of {steps_text(meaning.noise)}"


def _ladder(one: Explanation) -> str:
    head = f"{_pair(one, ' to ')} in {one.dtype}, {escape(one.case)}"
    silent = ", ".join(choice_text(rung.choice) for rung in one.ladder if rung.choice and not rung.changed)
    rows = [_rung(rung, one.actual.implementation) for rung in one.ladder if not rung.choice or rung.changed]
    parts = [
        f"<details><summary>{head}: {steps_text(one.meaning.largest)}</summary>",
        f"{escape(one.sentence[:1].upper() + one.sentence[1:])}. w differs by up to {_difference(one)}.",
        table(["switched", "family", "still differ", "by at most", "w by at most"], rows),
        f"Changes no bit here: {silent}." if silent else "",
        "</details>",
    ]
    return "\n\n".join(filter(None, parts))


def _rung(rung: Rung, name: str) -> list[str]:
    detail = f": {escape(rung.detail)}" if rung.detail else ""
    return [
        f"{choice_text(rung.choice)}{detail}" if rung.choice else f"nothing: {escape(name)} as it is",
        str(rung.family or ""),
        f"{rung.differing:,}",
        ulp_text(rung.max_ulp),
        steps_text(rung.max_steps),
    ]


LONGEST_WHERE = 4
LONGEST_MISSED = 4
UNEXPECTED_IN_SUMMARY = 50
"""Rows; the page of a CI job takes no more than a megabyte."""

NO_HEADLINES = Headlines()
NO_PLOTS = Plots()

Pairs = Mapping[tuple[str, str, str, str], PairResult]

MARKS = {Severity.ALARM: "ALARM", Severity.WARNING: "Warning", Severity.NOTE: "Note"}

LEGEND = """\
**How to read it.** *IDENTICAL*: every value of w, m and v (and vmax) is equal at every step. *WITHIN*: not equal, and
inside the budget the case states for rounding. *DIVERGED*: further apart than that, or no budget can be stated.
*SKIPPED*: the framework cannot do what the case asks. *CRASHED*, *NOT_COMPARABLE*: no answer. Each of them can be *as
expected*: a case states for every pair which verdict has to come out, and why. One **ULP** is the distance from a
floating-point number to its neighbour in the stored dtype; **lr** is the unit of one full optimizer step, so 0.01 lr is
a hundredth of a step. Figures are those of the weights, at the worst of all steps. The **power** of a budget, in the
second table of a case, is the number of wrong Adams whose verdict it would turn, of those that differ from the right
one in this case at all; a pair of two frameworks is given that of its budget beside the from-scratch Adam."""


def render(run: Run, chosen: Headlines = NO_HEADLINES, plots: Plots = NO_PLOTS, changed: Sequence[Changes] = ()) -> str:
    """The report of a run as Markdown.

    chosen: of the whole explanations that it keeps; plots: that stand beside it; changed: what is shown with it.
    """
    told = _matrix(build_matrix(run))
    sections = [
        f"# Adam parity report\n\n{_answer(run)}",
        _findings(run),
        twins.section(run, plots),
        "## Matrix: pairs by dtype, the worst of all cases",
        plot.shown(plots, Section.MATRIX),
        f"{told}\n\n{LEGEND}",
        _unexpected(run),
        plot.titled(plots, Section.DIFFERENCE),
        _why(run, chosen),
        plot.titled(plots, Section.EPSILON),
        around.section(stages_of(run)),
        _cases(run),
        changes.section(changed),
        kinds.section(run.kinds),
        names.section(run.names),
        _environment(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary_lines(run: Run) -> Iterable[str]:
    """What a pull request, or a CI job's page, shows of a run: the answer, what is not as expected, the matrix."""
    came_out = "as expected" if run.exit_code == 0 else "not as expected"
    sections = [
        f"### Adam parity: {came_out}",
        _answer(run),
        _unexpected(run, level=4, most=UNEXPECTED_IN_SUMMARY),
        _matrix(build_matrix(run)),
        f"Exit code {run.exit_code}.",
    ]
    return ("\n\n".join(section for section in sections if section)).splitlines()


def _answer(run: Run) -> str:
    counts = run.counts
    cases = len({cell.case for cell in run.cells})
    lines = []
    if not run.complete:
        why = run.stopped or "incomplete"
        lines.append(
            f"> **This run is not complete** ({why}): {counts.cells} of {counts.cells_planned} cells were run."
        )
    lines += [f"> **Stale expectation:** {escape(line)}" for line in run.stale]
    lines += [f"> **{escape(one.title)}.** {escape(one.detail)}" for one in claims_broken(run)]
    lines.append(
        f"{_came_out(run)}: {counts.as_expected:,} of {counts.pairs:,} verdicts, over {cases} cases in "
        f"{counts.cells} cells (case x dtype). Of them {counts.unbounded:,} diverge where rounding sets the weights no "
        f"limit (half precision, overflow), so they say little. Compared: {counts.elements:,} elements in "
        f"{counts.tensors:,} tensors over {counts.steps:,} optimizer steps; {counts.rows:,} rows in "
        f"`divergence.parquet`."
    )
    lines.append(answer_line(run))
    return "\n\n".join(filter(None, lines))


def _came_out(run: Run) -> str:
    if not run.counts.elements:
        return "**Nothing was compared**, as no pair came to its end on both sides"
    if run.unexpected or run.stale or run.broken:
        return "**Not everything is as expected**"
    return f"{'Everything' if run.complete else 'What was run'} is as expected"


def _why(run: Run, chosen: Headlines) -> str:
    """Causes of every pair; empty where nothing was explained."""
    whys = twins.why_rows(run)
    if not whys:
        return ""
    sections = [
        "## Why they differ",
        "Causes of every pair, over all cases; `parity explain CASE A B` shows shares, steps and the proof:",
        table(whys[0], [[escape(text) for text in row] for row in whys[1:]]),
        headlines_section(chosen),
    ]
    return "\n\n".join(filter(None, sections))


def _findings(run: Run) -> str:
    told = "\n".join(_finding(finding) for finding in run.findings) or "None."
    return f"## Findings\n\n{told}"


def _finding(finding: Finding) -> str:
    where = ", ".join(escape(place) for place in finding.where[:LONGEST_WHERE])
    more = len(finding.where) - LONGEST_WHERE
    tail = f" and {more} more" if more > 0 else ""
    return f"- **{MARKS[finding.severity]}: {escape(finding.title)}.** {escape(finding.detail)} ({where}{tail})"


def _matrix(matrix: Matrix) -> str:
    rows = [
        [
            f"**{escape(actual)}**<br>{escape(expected)}",
            *(_entry(row.get(dtype)) for dtype in matrix.dtypes),
        ]
        for (actual, expected), row in matrix.rows.items()
    ]
    return table(["actual<br>expected", *matrix.dtypes], rows)


def _entry(entry: Entry | None) -> str:
    return "" if entry is None else "<br>".join(map(escape, entry_lines(entry)))


def _unexpected(run: Run, level: int = 2, most: int | None = None) -> str:
    if not run.unexpected:
        return ""
    shown = run.unexpected[:most]
    more = f"\n\nAnd {len(run.unexpected) - len(shown):,} more." if len(shown) < len(run.unexpected) else ""
    rows = [
        [
            f"{escape(one.case)}<br>{one.dtype}",
            f"{escape(one.actual)}<br>{escape(one.expected)}",
            f"{one.verdict.kind}<br>expected {one.verdict.wanted or 'nothing'}",
            _first(run.pair(one)),
            escape(one.verdict.reason),
        ]
        for one in shown
    ]
    head = ["case", "pair", "verdict", "first difference", "figures"]
    return f"{'#' * level} Not as expected\n\n{table(head, rows)}{more}"


def _cases(run: Run) -> str:
    parts = ["## Cases"]
    pairs = run.pairs()
    by_case: dict[str, list[PairVerdict]] = {}
    for one in run.verdicts:
        by_case.setdefault(one.case, []).append(one)
    for name, told in run.cases.items():
        verdicts = by_case.get(name)
        if verdicts:
            shown = _case_table(pairs, verdicts)
            reasons = "\n".join(_reasons(verdicts))
            power = _powers([power for power in run.powers if power.case == name])
            head = f"### {escape(name)}\n\n{escape(told['summary'])} {escape(told['why'])}"
            parts.append(f"{head}\n\n{shown}\n\n{reasons}{power}")
    return "\n\n".join(parts)


def _case_table(pairs: Pairs, verdicts: Sequence[PairVerdict]) -> str:
    dtypes = [dtype for dtype in FORMATS if any(one.dtype == dtype for one in verdicts)]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in verdicts:
        rows.setdefault((one.actual, one.expected), {})[one.dtype] = _case_entry(pairs, one)
    return table(
        ["actual<br>expected", *dtypes],
        [
            [f"{escape(actual)}<br>{escape(expected)}", *(row.get(dtype, "") for dtype in dtypes)]
            for (actual, expected), row in rows.items()
        ],
    )


def _case_entry(pairs: Pairs, one: PairVerdict) -> str:
    kind = str(one.verdict.kind) if one.verdict.as_expected else f"**{one.verdict.kind}, not as expected**"
    if one.verdict.kind in (Kind.IDENTICAL, Kind.SKIPPED, Kind.CRASHED, Kind.NOT_COMPARABLE):
        return kind
    pair = pairs[one.place]
    first = min((distance.first.step for distance in pair.distances if distance.first), default=0)
    weights = next(distance for distance in pair.distances if distance.quantity == "w")
    if not weights.differing or weights.worst_max_steps is None:
        return f"{kind}<br>from step {first}, w equal"
    figures = f"{ulp_text(int(weights.worst_max_ulp.value))}, {steps_text(weights.worst_max_steps.value)}"
    return f"{kind}<br>from step {first}<br>{figures}"


def _first(pair: PairResult) -> str:
    firsts = [(distance.first, distance.quantity) for distance in pair.distances if distance.first]
    if not firsts:
        return ""
    first, quantity = min(firsts, key=lambda one: one[0].step)
    place = f"step {first.step}, {quantity} of {escape(first.parameter)}[{first.index}]"
    return f"{place}<br>{value_text(first.actual)}<br>{value_text(first.expected)}"


def _reasons(verdicts: Sequence[PairVerdict]) -> Iterable[str]:
    """What was expected and why, each reason once."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for one in verdicts:
        key = (str(one.verdict.wanted), one.verdict.because, one.verdict.link or "")
        pair = f"{one.actual} / {one.expected}"
        if pair not in reasons.setdefault(key, []):
            reasons[key].append(pair)
    for (wanted, because, link), pairs in reasons.items():
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        shown = ", ".join(escape(pair) for pair in pairs[:3]) + more
        told = "*Only reported* of" if wanted == "None" else f"*{wanted}* expected of"
        yield f"- {told} {shown}: {escape(because)}" + (f" <{link}>" if link else "")


def _powers(powers: Sequence[Power]) -> str:
    """How many wrong Adams the budgets of a case catch: a row for each kind of budget, empty where there is none."""
    if not powers:
        return ""
    if all(one.unknown for one in powers):
        reasons = dict.fromkeys(one.unknown for one in powers)
        return f"\n- *Power* of its budgets: unknown ({'; '.join(reasons)})."
    dtypes = [dtype for dtype in FORMATS if any(one.dtype == dtype for one in powers)]
    rows: dict[str, dict[str, list[str]]] = {}
    for one in powers:
        told = escape(power_text(one, LONGEST_MISSED))
        rows.setdefault(one.budget, {}).setdefault(one.dtype, []).append(told)
    shown = table(
        ["budget for rounding / against", *dtypes],
        [[escape(name), *("<br>".join(row.get(dtype, ())) for dtype in dtypes)] for name, row in rows.items()],
    )
    return f"\n\n{shown}"


def _environment(run: Run) -> str:
    facts = run.environment
    rows = [
        [
            escape(name),
            ", ".join(f"{package} {version}" for package, version in worker["packages"].items()),
            escape(", ".join(f"{what} {told}" for what, told in worker.get(MACHINE, {}).items())),
        ]
        for name, worker in sorted(run.workers.items())
    ]
    variables = ", ".join(f"`{name}={value}`" for name, value in facts["variables"].items()) or "none set"
    return (
        "## Environment\n\n"
        f"parity {run.version}, Python {facts['python']}, {facts['platform']}, {facts['processor']} "
        f"({' '.join(facts['cpu_flags'])}), {facts['cpus']} CPUs. Variables that change numerics: {variables}.\n\n"
        + table(["worker", "packages", "in force"], rows)
        + "\n\nDigests of every input and of every last state are in `run.json`."
    )
