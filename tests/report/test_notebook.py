"""Values in a notebook: HTML by IPython's own formatter, escaped, short, and only once it is asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import parity
from parity.adam.convention import Epsilon
from parity.adam.epsilon_conversion import conversion
from parity.api.baselines import check_baseline, save_baseline, the_baseline
from parity.baseline.bisection import Answer as Turn
from parity.baseline.bisection import Bisected, Decision, Range, standing
from parity.baseline.side import saved_side
from parity.baseline.upgrade import Column, ReleaseMatrix, hold_sides
from parity.case.catalogue import select_cases
from parity.case.expectation import Kind
from parity.core.shown import Shown, html_of
from parity.engine.record import read_run
from parity.identify.answer import Answer, Finding
from parity.report.html import card as cards
from parity.report.html.card import BORDERS, MOST_ROWS, rows_of
from parity.report.html.notebook import card_of, show
from parity.report.panels.certifying import certify
from parity.report.panels.panels import read_panels
from parity.report.refusal import reason_title

formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")

HAT = ("numpy.adam.hat", "numpy.adam.outside")
SEEN = {"eps": 1e-3}
NASTY = "</td></table><script>alert('a & b')</script>{{ 7 * 7 }}\n$x$"

ANSWER = Answer(
    "identified",
    {"epsilon": "hat", "hyperparameters": {"lr": 1e-3}},
    None,
    "m = beta1 * m + (1 - beta1) * g\nw = w - lr * m",
    (Finding("amsgrad", "AMSGrad is asked for and not done", {"steps": 3}),),
    {"elements": 1_000, "differing": 0},
)

LIMIT = 40_000


class Tags(HTMLParser):
    """Sees that every element is closed where it should be; counts rows table by table."""

    def __init__(self):
        super().__init__()
        self.open, self.names, self.attributes, self.rows = [], set(), set(), []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.names.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag == "table":
            self.rows.append(0)
        elif tag == "td":
            self.rows[-1] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.names <= {"div", "p", "pre", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert tags.attributes <= {"style", "scope"}
    return tags


def formatted(value):
    """What IPython makes of a value."""
    shown, _ = formatters.DisplayFormatter().format(value)
    return shown


@pytest.fixture
def run(run_small, tmp_path):
    run_small(*HAT, hyper=SEEN, dtypes=["float64", "float32"])
    return read_run(tmp_path / "run")


@pytest.fixture
def changed(write_case, write_adam, tmp_path):
    """A baseline that was checked after the Adam in it has changed: (root, checked)."""
    case, root = write_case(), tmp_path / "baselines"
    save_baseline(root, [case], [write_adam()])
    target = write_adam(swap=[("f(hyper.eps))", "f(2 * hyper.eps))")])
    return root, check_baseline(root, [case], [target])


def test_a_run_shows_how_it_came_out_and_its_matrix(run):
    shown = formatted(run)
    tags = parsed(shown["text/html"])
    assert f"Run of parity {run.version}: as expected (exit code 0)" in shown["text/html"]
    assert "2 of 2 verdicts are as expected, over 1 cases in 2 cells" in shown["text/html"]
    assert "≠ 1 DIVERGED" in shown["text/html"]
    assert tags.rows == [3]
    assert shown["text/plain"].startswith("Run(schema=")
    assert len(shown["text/plain"]) < 2_000


def test_what_is_not_as_expected_comes_first(run):
    wrong = tuple(
        replace(one, verdict=replace(one.verdict, as_expected=False, wanted=Kind.IDENTICAL)) for one in run.verdicts
    )
    html = show(replace(run, verdicts=wrong, complete=False, stopped="interrupted", stale=("nobody",)))
    assert "NOT as expected (exit code 2)" in html
    assert "This run is not complete (interrupted): 2 of 2 cells were run." in html
    assert "Stale expectation: nobody" in html
    assert html.index("Not as expected</caption>") < html.index("The worst verdict")
    assert "1 NOT AS EXPECTED" in html
    assert BORDERS["alarm"] in html


def test_verdicts_explanations_and_pairs(run, tmp_path):
    (views,) = read_panels(run, tmp_path / "run").views.values()
    explanation = views.views[0].explanation
    html = formatted(explanation)["text/html"]
    parsed(html)
    for told in (
        explanation.sentence,
        "epsilon: hat -&gt; outside",
        "A - B",
        "times the noise floor",
        "its twin: 0 of",
    ):
        assert told in html
    pair = run.verdicts[0]
    for value in (pair, pair.verdict):
        html = formatted(value)["text/html"]
        parsed(html)
        assert "≠ DIVERGED, as expected" in html
        assert "DIVERGED was expected: Epsilon stands in another place." in html
    assert "small float64, numpy.adam.hat / numpy.adam.outside" in formatted(pair)["text/html"]


def test_a_certificate_and_the_lack_of_one(four):
    refused = certify(four, *HAT)
    html = formatted(refused)["text/html"]
    parsed(html)
    assert "No certificate: numpy.adam.hat and numpy.adam.outside" in html
    assert all(reason_title(reason, refused.cells[0]) in html for reason in refused.reasons)
    issued = certify(four, "user.one", HAT[1], ["float64"])
    html = formatted(issued)["text/html"]
    parsed(html)
    for told in (
        "Certificate: user.one is equivalent to numpy.adam.outside",
        issued.digest,
        "w in ULP",
        "In float64: ",
    ):
        assert told in html


def test_a_divergence_shows_where_both_part(write_trace):
    ones = [[1.0, 1.0], [1.0, 1.5], [float("nan"), 1.5]]
    others = [[1.0, 1.0], [1.0, 1.25], [1.0, 1.5]]
    found = parity.compare(write_trace("one", ones), write_trace("other", others))
    shown = formatted(found)
    parsed(shown["text/html"])
    for told in ("2 of 4", "1.5\n(0x1.8000000000000p+0)", "p[1]", "NaN/inf", "NOT as expected", "rows in frame()"):
        assert told in shown["text/html"]
    assert len(shown["text/plain"]) < 1_000


def test_a_case_an_answer_and_a_conversion(write_case):
    (case,) = select_cases([write_case(hyper={"lr": [0.1, 0.2, 0.3, 0.4, 0.5]})])
    html = formatted(case)["text/html"]
    parsed(html)
    for told in ("Case small", "[3, 4]", "bell", "lr 0.1 to 0.5 by a schedule", "Both are Algorithm 1 of the paper."):
        assert told in html
    html = formatted(ANSWER)["text/html"]
    parsed(html)
    for told in ("This is Adam with epsilon hat, with 1 departure, bit for bit.", ANSWER.formula, "departs", "1,000"):
        assert told in html
    found = conversion(1e-7, Epsilon.HAT, Epsilon.OUTSIDE, steps=1_000)
    html = formatted(found)["text/html"]
    parsed(html)
    for told in (f"{found.best.eps:.7g}", f"{found.rows[0].exact:.7g}", "From step 4,830 on"):
        assert told in html
    same = conversion(1e-7, Epsilon.HAT, Epsilon.HAT)
    assert "The same convention: keep the number." in show(same)


def test_baselines_and_upgrades(changed):
    root, checked = changed
    html = formatted(checked)["text/html"]
    parsed(html)
    assert "Adam against the baseline: 1 identical, 1 changed" in html
    assert "1 of 1" in html
    (drift,) = (one for one in checked.drifts if one.change is not None)
    html = formatted(drift)["text/html"]
    parsed(html)
    assert "user.plugin on small in float32: changed" in html
    assert drift.detail.split(";")[0] in html
    assert "Kept steps that differ" in html
    sides = saved_side(the_baseline(root)), saved_side(the_baseline(root.with_name("baselines.obtained")))
    upgraded = hold_sides(*sides, ())
    html = formatted(upgraded)["text/html"]
    parsed(html)
    assert "Adam before and after the upgrade: 1 changed" in html
    matrix = ReleaseMatrix("keras", "keras==3", (Column("1", upgraded), Column("2", None, "it cannot be installed")))
    html = formatted(matrix)["text/html"]
    parsed(html)
    assert "0 of 2 releases of keras are the same as keras==3" in html
    assert "2: it cannot be installed" in html
    decisions = (Decision("1", Turn.SAME, "0"), Decision("3", Turn.CHANGED, "1"), Decision("2", Turn.CHANGED, "1"))
    found = Bisected(Range("keras", "1", "3"), ("1", "2", "3"), decisions, standing(("1", "2", "3"), decisions), None)
    html = formatted(found)["text/html"]
    parsed(html)
    assert "keras 2 is the first release that changes; 1 is the last before it" in html


def test_every_value_that_shows_itself_has_a_card():
    assert {kind.__name__ for kind in Shown.__subclasses__()} <= {kind.__name__ for kind in card_of.registry}
    assert len(card_of.registry) > 10


def test_hostile_text_stays_text(run):
    pair = replace(run.verdicts[0], case=NASTY, actual=NASTY, expected=NASTY)
    pair = replace(pair, verdict=replace(pair.verdict, reason=NASTY, because=NASTY, link=NASTY, wanted=Kind.WITHIN))
    answer = replace(ANSWER, formula=NASTY, causes=(Finding(NASTY, NASTY, {NASTY: NASTY}),))
    for value, plain in ((pair, run.verdicts[0]), (pair.verdict, run.verdicts[0].verdict), (answer, ANSWER)):
        html = show(value)
        assert parsed(html).names == parsed(show(plain)).names
        assert "alert(&#39;a &amp; b&#39;)" in html
        assert "{{ 7 * 7 }}" in html


def test_a_long_table_says_how_many_rows_are_left_out(run):
    many = replace(run, verdicts=tuple(replace(run.verdicts[0], actual=HAT[0], case="small") for _ in range(3)))
    assert show(many) is not None
    (table,) = rows_of("", ("a",), ([str(number)] for number in range(MOST_ROWS + 1_234)))
    assert (len(table.rows), table.more) == (MOST_ROWS, 1_234)
    html = cards.render_card(cards.Card("title", "near", tables=(table,)))
    assert "And 1,234 more." in html
    assert parsed(html).rows == [MOST_ROWS]


def test_a_shipped_case_is_short():
    for case in select_cases():
        html = show(case)
        assert all(rows <= MOST_ROWS * 5 for rows in parsed(html).rows)
        assert len(html.encode()) < LIMIT


def test_the_same_value_gives_the_same_html(run):
    assert show(run) == show(run)


def test_without_jinja_the_plain_text_is_shown(run, monkeypatch):
    monkeypatch.setattr(cards, "NEEDED", "no_such_package")
    assert run._repr_html_() is None
    assert set(formatted(run)) == {"text/plain"}


def test_nothing_is_loaded_before_a_value_is_shown():
    code = (
        "import sys, parity\n"
        "heavy = {'jinja2', 'pydantic', 'pyarrow', 'numpy', 'dataclasses', 'parity.report'}\n"
        "print(*sorted(heavy & {*sys.modules}))\n"
        "from parity.adam.epsilon_conversion import conversion\n"
        "from parity.adam.convention import Epsilon\n"
        "found = conversion(1e-7, Epsilon.HAT, Epsilon.OUTSIDE, steps=10)\n"
        "print(*sorted({'jinja2', 'parity.report', 'parity.baseline'} & {*sys.modules}))\n"
        "print(found._repr_html_()[:4])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "\n\n<div\n", ended.stderr


def test_a_value_stays_what_it_is(run):
    verdict = run.verdicts[0].verdict
    assert not hasattr(verdict, "__dict__")
    assert hash(verdict) == hash(replace(verdict))
    assert html_of(object()) is None
    assert repr(verdict).startswith("Verdict(kind=")
