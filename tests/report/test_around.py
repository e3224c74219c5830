"""The section on what stands around Adam, in report.md, in report.html and in a browser."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from parity.engine.record import read_run
from parity.report.around import differences, field, sides, size, symbol, title
from parity.report.html.page import render_page
from parity.report.markdown import render
from parity.report.panels.around import Around, Beside, Extent, Ground, Stage
from parity.report.panels.panels import read_panels

EXPECT = [{"actual": "user.*", "expected": "numpy.*", "verdict": "DIVERGED", "because": "What comes out is looked at."}]
STAGES = {"schedule": {"decay": "exponential", "steps": 5, "rate": 0.5}}


@pytest.fixture
def pages(run_small, write_adam, tmp_path):
    """report.md and report.html of a run of plug-ins, one of which ignores the schedule and one any stage."""

    def made(stages=STAGES):
        wrong = write_adam("wrong", swap=[("hyper.lr_at(t)", "1e-3")])
        lost = write_adam("lost", first="raise Unsupported('it has <none>')")
        run_small(write_adam("right"), wrong, lost, "numpy.adam.outside", stages=stages, expect=EXPECT)
        run = read_run(tmp_path / "run")
        return render(run), render_page(run, read_panels(run, tmp_path / "run"))

    return made


class Closed(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        self.open += [tag] * (tag not in ("meta", "link", "br", "wbr", "input"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_without_a_stage_there_is_no_section(pages):
    text, page = pages(stages=None)
    assert "Around Adam" not in text
    assert "Around Adam" not in page


def test_the_section_stands_in_both_with_figures_reasons_and_who_has_none(pages):
    text, page = pages()
    told = text[text.index("## Around Adam") : text.index("## Cases")]
    shown = " ".join(page[page.index('<section id="around"') : page.index('<section id="method"')].split())
    assert '<a href="#around">Around Adam</a>' in page
    assert "| Exponential schedule | " in told
    assert "### Exponential schedule\n\nNot " in told
    (figure,) = re.findall(r"user\.wrong and numpy\.adam\.outside differ by (\S+ lr) in float32: ", told)
    assert f"user.wrong and numpy.adam.outside differ by {figure} in float32: " in shown
    assert f'<span class="kind">{figure}</span>' in shown
    assert "- *Skipped:* user.lost: it has &lt;none&gt;." in told
    assert "Skipped: user.lost: it has &lt;none&gt;." in shown
    closed = Closed()
    closed.feed(page)
    assert closed.open == []


def beside(ground, lr=0.1, families=(), dtype="float32"):
    return Beside("torch.adam.forloop", "keras.adam.eager", (Extent(dtype, "small", lr, ground, families),))


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (None, ("", "")),
        (Beside("a", "b", ()), ("skipped", "")),
        (beside(Ground.EQUAL, 0.0), ("equal", "")),
        (beside(Ground.ROUNDING, 1e-6), ("1.0e-06 lr", "rounding")),
        (beside(Ground.EPSILON, families=("epsilon-placement",)), ("0.1 lr", "epsilon")),
        (beside(Ground.FORMULA, families=("epsilon-placement", "schedule")), ("0.1 lr", "schedule")),
        (beside(Ground.FORMULA, families=("schedule",), dtype="float64"), ("0.1 lr", "schedule, in float64")),
        (beside(Ground.UNEXPLAINED), ("0.1 lr", "unexplained")),
        (beside(Ground.UNEXPLAINED, math.inf), ("NaN/inf", "unexplained")),
    ],
)
def test_a_field_says_how_much_and_why(one, told):
    assert field(one) == told


@pytest.mark.parametrize(
    ("ground", "mark", "words"),
    [
        (Ground.EQUAL, "=", "The same everywhere, bit for bit"),
        (Ground.ROUNDING, "≈", "The same everywhere, rounded differently"),
        (Ground.EPSILON, "≈", "The same everywhere, but for where epsilon stands"),
        (Ground.FORMULA, "≠", "Not the same everywhere"),
        (Ground.UNEXPLAINED, "≠", "Not all that differs is explained"),
    ],
)
def test_a_stage_is_the_same_or_not(ground, mark, words):
    stage = Stage("accumulate", ("small",), (beside(ground, families=("schedule",)),), (), ())
    assert (symbol(stage), title(stage)) == (mark, words)
    assert len([*differences(stage)]) == (ground >= Ground.FORMULA)
    assert size(stage.pairs[0].main) == "0.1 lr"


def test_a_framework_is_named_alone_where_it_is_alone():
    alone = Around((), (("torch.adam.forloop", "keras.adam.eager"), ("torch.adam.forloop", "numpy.adam.outside")))
    assert sides(alone, alone.pairs[0]) == ("torch", "keras")
    assert sides(alone, alone.pairs[1]) == ("torch", "from scratch")
    several = Around((), (*alone.pairs, ("torch.adamw.forloop", "numpy.adam.outside"), ("user.a", "numpy.adam.hat"),
                          ("user.a", "numpy.adam.outside")))  # fmt: skip
    assert sides(several, several.pairs[0]) == ("torch.adam.forloop", "keras")
    assert sides(several, several.pairs[4]) == ("user", "numpy.adam.outside")


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [1280, 400])
def test_the_section_fits_its_window_and_a_field_leads_to_its_stage(visit, fits, pages, tmp_path, width):
    (tmp_path / "report.html").write_text(pages()[1])
    browser = visit(tmp_path / "report.html", width=width, fragment="#around")
    fits("light")
    browser.execute_script("document.querySelector('.stages td a').click()")
    assert browser.execute_script("return location.hash") == "#around-1"
    wide = "[...document.querySelectorAll('#around article')].filter(one => one.scrollWidth > one.clientWidth)"
    assert browser.execute_script(f"return {wide}.length") == 0
    assert browser.get_log("browser") == []
