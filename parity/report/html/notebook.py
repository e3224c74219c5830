"""What a notebook shows of a value: a card, with everything that it needs inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from math import isfinite

from parity.adam.epsilon_conversion import Candidate, Conversion
from parity.baseline.bisection import Bisected
from parity.baseline.check import Checked
from parity.baseline.drift import Drift
from parity.baseline.upgrade import ReleaseMatrix, Upgraded
from parity.case.case import Case
from parity.comparison.distance import Distance
from parity.comparison.traces import Divergence
from parity.comparison.verdict import Verdict
from parity.engine.matrix import Entry
from parity.engine.record import PairVerdict, Run
from parity.explain.explanation import Answer as Explained
from parity.explain.explanation import Explanation
from parity.identify.answer import Answer
from parity.numerics.formats import FORMATS
from parity.report import certificate as certified
from parity.report import refusal
from parity.report.certificate import bound_rows
from parity.report.figures import number_text, steps_text, ulp_text, value_text
from parity.report.html import explained
from parity.report.html.card import Card, Rows, render_card, rows_of, stacked
from parity.report.html.change_cards import bisected_card, checked_card, drift_card, releases_card, upgraded_card
from parity.report.html.wording import SYMBOLS, TONES, field_kinds
from parity.report.identity import answer_rows, sentence_about
from parity.report.markdown import answer_line
from parity.report.panels.certificate import Certificate
from parity.report.panels.maps import Field, HeatMap, heat_map

MOST_UNEXPECTED = 15

MOST_EXPECTATIONS = 12

EXPLAINED = {Explained.IDENTICAL: "same", Explained.EXPLAINED: "near", Explained.UNEXPLAINED: "alarm"}
IDENTIFIED = {"identified": "same", "explained": "near", "unexplained": "alarm"}


def run_card(run: Run) -> Card:
    """How it came out, what is not as expected, the matrix."""
    counts = run.counts
    came_out = "as expected" if run.exit_code == 0 else "NOT as expected"
    lines = [
        f"{counts.as_expected:,} of {counts.pairs:,} verdicts are as expected, over {len(run.cases):,} cases in "
        f"{counts.cells:,} cells (case x dtype); {counts.elements:,} elements compared over {counts.steps:,} steps.",
        answer_line(run),
        "" if run.complete else f"This run is not complete ({run.stopped or 'incomplete'}): "
                                f"{counts.cells:,} of {counts.cells_planned:,} cells were run.",
        *(f"Stale expectation: {line}" for line in run.stale),
    ]  # fmt: skip
    unexpected = (
        (one.case, one.dtype, f"{one.actual}\n{one.expected}", str(one.verdict.kind), one.verdict.reason)
        for one in run.unexpected
    )
    head = ("case", "dtype", "pair", "verdict", "figures")
    tables = (*rows_of("Not as expected", head, unexpected, most=MOST_UNEXPECTED), *_matrix(heat_map(run)))
    return Card(
        f"Run of parity {run.version}: {came_out} (exit code {run.exit_code})",
        "same" if run.exit_code == 0 else "alarm",
        tuple(filter(None, lines)),
        tables,
    )


def _matrix(heat: HeatMap) -> tuple[Rows, ...]:
    dtypes = heat.matrix.dtypes
    rows = (
        (f"{actual}\n{expected}", *(_entry(row.get(one), heat.fields.get((actual, expected, one))) for one in dtypes))
        for (actual, expected), row in heat.matrix.rows.items()
    )
    caption = "The worst verdict with its number of cases; the difference of the weights in the median case, at worst"
    return rows_of(caption, ("actual, expected", *dtypes), rows)


def _entry(entry: Entry | None, field: Field | None) -> str:
    if entry is None or field is None:
        return ""
    verdict, _ = field_kinds(entry.kinds)
    lines = [verdict]
    if entry.first_step is not None and field.median is not None:
        lines.append(f"{_size(field.median)}, {_size(entry.worst_steps)}")
    if entry.as_expected < entry.cases:
        lines.append(f"{entry.cases - entry.as_expected} NOT AS EXPECTED")
    return "\n".join(lines)


def _size(lr: float) -> str:
    return steps_text(lr) if isfinite(lr) else "NaN/inf"


def verdict_card(verdict: Verdict) -> Card:
    """What came out, and what was expected."""
    return Card(_verdict_title("", verdict), _tone(verdict), tuple(_verdict_lines(verdict)))


def pair_card(pair: PairVerdict) -> Card:
    """The same, of a pair in a cell."""
    where = f"{pair.case} {pair.dtype}, {pair.actual} / {pair.expected}: "
    return Card(_verdict_title(where, pair.verdict), _tone(pair.verdict), tuple(_verdict_lines(pair.verdict)))


def _verdict_title(where: str, verdict: Verdict) -> str:
    came_out = "as expected" if verdict.as_expected else "NOT as expected"
    return f"{where}{SYMBOLS[verdict.kind]} {verdict.kind}, {came_out}"


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    yield verdict.reason
    if verdict.wanted is not None:
        link = f" ({verdict.link})" if verdict.link else ""
        yield f"{verdict.wanted} was expected: {verdict.because}{link}"
    if verdict.blind:
        yield f"Of {', '.join(verdict.blind)} it says nothing: an optimizer that never steps would be within it, too."


def _tone(verdict: Verdict) -> str:
    return TONES.get(SYMBOLS[verdict.kind], "alarm") if verdict.as_expected else "alarm"


def divergence_card(divergence: Divergence) -> Card:
    """Quantity by quantity, where both part and how far they are apart."""
    rows = map(_distance, divergence.distances)
    head = ("quantity", "differing", "first at step", "at", "actual", "expected", "worst ULP", "worst in lr")
    return Card(
        _verdict_title(f"{divergence.actual} against {divergence.expected}: ", divergence.verdict),
        _tone(divergence.verdict),
        (*_verdict_lines(divergence.verdict), f"{divergence.table.num_rows:,} rows in frame()."),
        rows_of("All steps and parameters", head, rows, (1, 2, 4, 5, 6, 7)),
    )


def _distance(one: Distance) -> tuple[str, ...]:
    counted = f"{one.differing:,} of {one.compared:,}"
    if one.first is None:
        return one.label, counted, "", "", "", "", "0 ULP", ""
    first, lr = one.first, one.worst_max_steps
    return (
        one.label, counted, f"{first.step:,}", f"{first.parameter}[{first.index}]",
        stacked(value_text(first.actual)), stacked(value_text(first.expected)),
        ulp_text(int(one.worst_max_ulp.value)), steps_text(lr.value) if lr else "",
    )  # fmt: skip


def explanation_card(one: Explanation) -> Card:
    """The answer, what proves it, causes, split of w, ladder."""
    sides = [f"{letter}: {told.implementation}, {explained.proof(told)}."
             for letter, told in (("A", one.actual), ("B", one.expected))]  # fmt: skip
    lines = sides if one.answer is Explained.IDENTICAL else [*sides, explained.matters(one)]
    split = next((each for each in explained.splits(one) if each.quantity == "w"), None)
    ladder_head = ("switched", "family", "still differ", "by at most", "w by at most")
    tables = [
        *rows_of("Causes", ("share", "family", "what"), explained.causes(one), (0,)),
        *rows_of("From A to B, one choice switched after another", ladder_head, explained.rungs(one), (2, 3, 4)),
    ]
    if split is not None:
        steps = tuple(f"step {step:,}" for step in split.steps)
        rows = ((name, *figures) for name, figures in split.rows)
        tables[1:1] = rows_of("Where the difference of w comes from, in lr", ("", *steps), rows, range(1, 9))
    return Card(f"{one.case} {one.dtype}: {one.sentence}", EXPLAINED[one.answer], tuple(lines), tuple(tables))


def case_card(case: Case) -> Card:
    """The question and what is expected of the answers."""
    hyper = ", ".join(f"{name} {_setting(value)}" for name, value in case.hyper)
    parameters = ((one.name, f"{list(one.shape)}", one.weights.kind, one.gradients.kind) for one in case.parameters)
    head = ("actual", "expected", "dtypes", "verdict", "because")
    expectations = (
        (one.actual, one.expected, _dtypes(one.dtypes), str(one.verdict), one.because) for one in case.expect
    )
    return Card(
        f"Case {case.name}: {case.summary}",
        "near",
        (case.why, f"{case.steps:,} steps of {case.layout().size:,} elements in {', '.join(case.dtypes)}.", hyper),
        (
            *rows_of("Parameters", ("name", "shape", "weights", "gradients"), parameters),
            *rows_of("Expected; the first that matches holds", head, expectations, most=MOST_EXPECTATIONS),
        ),
    )


def _dtypes(dtypes: tuple[str, ...]) -> str:
    return ", ".join(dtypes) if set(dtypes) < set(FORMATS) else "all"


def _setting(value: object) -> str:
    if isinstance(value, tuple):
        return f"{number_text(value[0])} to {number_text(value[-1])} by a schedule"
    return str(value)


def answer_card(answer: Answer) -> Card:
    """Which Adam it is."""
    return Card(
        sentence_about("This", answer),
        IDENTIFIED[answer.verdict],
        tables=rows_of("", ("", ""), answer_rows(answer)),
        formula=answer.formula,
    )


def certificate_card(one: Certificate) -> Card:
    """What is certified and to which bound, or why nothing is."""
    names = one.actual.name, one.expected.name
    if not one.issued:
        reasons = tuple(refusal.reason_line(reason, one.cells[0]) for reason in one.reasons)
        narrow = refusal.narrowing_command(one)
        tail = (f"What could be certified: {narrow}",) if narrow else ()
        return Card(f"No certificate: {names[0]} and {names[1]}", "alarm", (*reasons, *tail))
    head, rows = bound_rows(one)
    lines = (
        f"That holds {certified.terms(one)}",
        *(f"In {dtypes}: {told}." for dtypes, told in certified.by_dtype(one)),
        *certified.notes(one),
        certified.left_out(one),
        f"Digest: {one.digest}",
    )
    return Card(
        f"Certificate: {names[0]} {certified.claim(one)} {names[1]}",
        "same",
        tuple(filter(None, lines)),
        rows_of("The largest differences", head, (["\n".join(filter(None, figure)) for figure in row] for row in rows),
                range(1, len(head))),
    )  # fmt: skip


def conversion_card(found: Conversion) -> Card:
    """What to write instead, step by step, and what a constant leaves."""
    title = f"eps {found.eps:g} from {found.source} to {found.target}, beta2 {found.beta2:g}, {found.steps:,} steps"
    if found.source is found.target:
        return Card(title, "same", ("The same convention: keep the number.",))
    settled = (
        "The conventions never meet: no constant, and no number per step, is right for all gradients."
        if found.settled is None
        else f"From step {found.settled:,} on the same eps is off by {found.threshold:g} lr at most."
    )
    constants = (
        _constant(name, one)
        for name, one in (
            ("the same eps", found.same),
            ("best: least off at worst", found.best),
            (f"exact at step {found.steps:,} for gradients that vanish", found.vanishing),
        )
    )
    rows = (
        (f"{row.step:,}", "" if row.exact is None else f"{row.exact:.7g}", steps_text(row.same), steps_text(row.best))
        for row in found.rows
    )
    off = "Off by: the largest difference of one update, if every gradient is the same."
    return Card(
        title,
        "near",
        (settled, off),
        (
            *rows_of("Constants", ("constant", "eps", "off by", "at |g|", "at step"), constants, (1, 2, 3, 4)),
            *rows_of("By step", ("step", "exact eps", "same eps: off by", "best: off by"), rows, (0, 1, 2, 3)),
        ),
    )


def _constant(name: str, one: Candidate) -> tuple[str, ...]:
    gap = one.gap
    return name, f"{one.eps:.7g}", steps_text(gap.difference), f"{gap.gradient:.2g}", f"{gap.step:,}"


def show(value: object) -> str | None:
    """A value as HTML; None where what makes it is not installed, or nothing is known of its kind."""
    card = card_of(value)
    return None if card is None else render_card(card)


@singledispatch
def card_of(value: object) -> Card | None:
    """What is shown of a value; None where there is nothing but its plain text."""
    return None


card_of.register(Answer, answer_card)
card_of.register(Case, case_card)
card_of.register(Certificate, certificate_card)
card_of.register(Conversion, conversion_card)
card_of.register(Divergence, divergence_card)
card_of.register(Explanation, explanation_card)
card_of.register(PairVerdict, pair_card)
card_of.register(Run, run_card)
card_of.register(Verdict, verdict_card)
card_of.register(Bisected, bisected_card)
card_of.register(Checked, checked_card)
card_of.register(Drift, drift_card)
card_of.register(ReleaseMatrix, releases_card)
card_of.register(Upgraded, upgraded_card)
