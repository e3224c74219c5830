"""report.md: the answer, the findings, the matrix, then the cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from parity.engine.findings import Finding, Severity
from parity.engine.matrix import Entry, Matrix, build_matrix
from parity.engine.record import PairVerdict, Run
from parity.expectation import Kind
from parity.report.figures import entry_lines, steps_text, ulp_text, value_text

LONGEST_WHERE = 6

MARKS = {Severity.ALARM: "ALARM", Severity.WARNING: "Warning", Severity.NOTE: "Note"}

LEGEND = """\
**How to read it.** *IDENTICAL*: every value of w, m and v (and vmax) is equal at every step. *WITHIN*: not equal,
and inside the budget the case states for rounding. *DIVERGED*: further apart than rounding can explain, or expected to
be. *SKIPPED*: the framework cannot do what the case asks. *CRASHED*, *NOT_COMPARABLE*: no answer. *As expected* means
that the case's stated expectation came true. One **ULP** is the distance from a floating-point number to its
neighbour; **lr** is the unit of one full optimizer step, so 0.01 lr is a hundredth of a step."""


def render(run: Run) -> str:
    """The report of a run as Markdown."""
    matrix = build_matrix(run)
    sections = [
        f"# Adam parity report\n\n{_answer(run)}",
        _findings(run),
        f"## Matrix: pairs by dtype, the worst of all cases\n\n{_matrix(matrix)}\n\n{LEGEND}",
        _cases(run),
        _environment(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _answer(run: Run) -> str:
    counts = run.counts
    lines = []
    if not run.complete:
        why = run.stopped or "incomplete"
        lines.append(f"> **This run is not complete** ({why}): {counts.cells} of {counts.cells_planned} cells were run.")
    colour = "Everything is as expected" if run.exit_code == 0 else "**Not everything is as expected**"
    lines.append(
        f"{colour}: {counts.as_expected:,} of {counts.pairs:,} verdicts, over {len(run.cases)} cases in "
        f"{counts.cells} cells (case x dtype). Compared: {counts.elements:,} elements in {counts.tensors:,} tensors "
        f"over {counts.steps:,} optimizer steps; {counts.rows:,} rows in `divergence.parquet` and `divergence.csv`."
    )
    lines += [f"> **Stale expectation:** {_escape(line)}" for line in run.stale]
    return "\n\n".join(lines)


def _findings(run: Run) -> str:
    if not run.findings:
        return "## Findings\n\nNone."
    return "## Findings\n\n" + "\n".join(_finding(finding) for finding in run.findings)


def _finding(finding: Finding) -> str:
    where = ", ".join(f"`{_escape(place)}`" for place in finding.where[:LONGEST_WHERE])
    more = len(finding.where) - LONGEST_WHERE
    tail = f" and {more} more" if more > 0 else ""
    return f"- **{MARKS[finding.severity]}: {_escape(finding.title)}.** {_escape(finding.detail)} ({where}{tail})"


def _matrix(matrix: Matrix) -> str:
    rows = [
        [f"**{_escape(actual)}**<br>{_escape(expected)}", *(_entry(row.get(dtype)) for dtype in matrix.dtypes)]
        for (actual, expected), row in matrix.rows.items()
    ]
    return _table(["actual<br>expected", *matrix.dtypes], rows)


def _entry(entry: Entry | None) -> str:
    return "" if entry is None else "<br>".join(entry_lines(entry))


def _cases(run: Run) -> str:
    parts = ["## Cases"]
    for name, told in run.cases.items():
        verdicts = [one for one in run.verdicts if one.case == name]
        if not verdicts:
            continue
        parts.append(
            f"### {_escape(name)}\n\n{_escape(told['summary'])} {_escape(told['why'])}\n\n"
            + _table(
                ["pair", "dtype", "verdict", "first difference", "w", "m", "v"], list(_case_rows(run, verdicts))
            )
            + "\n\n"
            + "\n".join(_reasons(verdicts))
        )
    return "\n\n".join(parts)


def _case_rows(run: Run, verdicts: Sequence[PairVerdict]) -> Iterable[list[str]]:
    previous = ("", "")
    for one in sorted(verdicts, key=_by_pair(verdicts)):
        pair = (one.actual, one.expected)
        label = f"{_escape(one.actual)}<br>{_escape(one.expected)}" if pair != previous else ""
        previous = pair
        kind = str(one.verdict.kind)
        if not one.verdict.as_expected:
            kind = f"**{kind}** (expected {one.verdict.wanted or 'nothing'}): {_escape(one.verdict.reason)}"
        elif one.verdict.kind is Kind.SKIPPED:
            kind = f"{kind}: {_escape(one.verdict.reason)}"
        yield [label, one.dtype, kind, _first(run, one), *(_figures(run, one, quantity) for quantity in ("w", "m", "v"))]


def _by_pair(verdicts: Sequence[PairVerdict]):  # type: ignore[no-untyped-def]
    order: dict[tuple[str, str], int] = {}
    for one in verdicts:
        order.setdefault((one.actual, one.expected), len(order))
    return lambda one: order[one.actual, one.expected]


def _first(run: Run, verdict: PairVerdict) -> str:
    firsts = [(distance.first, distance.quantity) for distance in run.pair(verdict).distances if distance.first]
    if not firsts:
        return ""
    first, quantity = min(firsts, key=lambda one: one[0].step)
    place = f"step {first.step}, {quantity} of {_escape(first.parameter)}[{first.index}]"
    return f"{place}<br>{value_text(first.actual)}<br>{value_text(first.expected)}"


def _figures(run: Run, verdict: PairVerdict, quantity: str) -> str:
    for distance in run.pair(verdict).distances:
        if distance.quantity == quantity:
            if not distance.differing:
                return "equal"
            ulp = ulp_text(int(distance.worst_max_ulp.value))
            return f"{ulp}<br>{steps_text(distance.worst_max_steps.value)}" if distance.worst_max_steps else ulp
    return ""


def _reasons(verdicts: Sequence[PairVerdict]) -> Iterable[str]:
    """What was expected and why, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in verdicts:
        key = (str(one.verdict.wanted), one.verdict.because)
        pair = f"{one.actual} / {one.expected}"
        if pair not in reasons.setdefault(key, []):
            reasons[key].append(pair)
    for (wanted, because), pairs in reasons.items():
        shown = ", ".join(_escape(pair) for pair in pairs[:3]) + (f" and {len(pairs) - 3} more" if len(pairs) > 3 else "")
        yield f"- *{wanted}* expected of {shown}: {_escape(because)}"


def _environment(run: Run) -> str:
    facts = run.environment
    rows = [
        [name, ", ".join(f"{package} {version}" for package, version in worker["packages"].items())]
        for name, worker in run.workers.items()
    ]
    variables = ", ".join(f"`{name}={value}`" for name, value in facts["variables"].items()) or "none set"
    return (
        "## Environment\n\n"
        f"parity {run.version}, Python {facts['python']}, {facts['platform']}, {facts['processor']} "
        f"({' '.join(facts['cpu_flags'])}), {facts['cpus']} CPUs. Variables that change numerics: {variables}.\n\n"
        + _table(["worker", "packages"], rows)
        + "\n\nDigests of every input and of every last state are in `run.json`."
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _escape(text: str) -> str:
    """Text of a case or a plug-in, so that it stays text inside Markdown and its tables."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.replace("*", "\\*").replace("`", "'").split())
