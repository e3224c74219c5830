"""The certificate as text: what it says, what it never says as markup, and that it fits a sheet of paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from parity.case.expectation import Kind
from parity.engine.power import Power
from parity.report import certificate as certified
from parity.report.certificate_page import file_stem, render_certificate, summary
from parity.report.html.documents import render_certificate_page
from parity.report.panels.certifying import certify
from parity.report.refusal import narrowing_command

SAME = ("user.two", "user.one")
NEAR = ("user.one", "numpy.adam.outside")
OTHER = ("numpy.adam.hat", "numpy.adam.outside")
NEVER = ("user.one", "numpy.adam.hat")
NASTY = "</title><script>alert('a | b')</script>`"

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Words(HTMLParser):
    """The text of a page, what it would fetch, its elements, and that each is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.fetched, self.text = [], {}, [], []

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [value for name, value in attributes if name in ("src", "href") and value != "data:,"]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def read(page):
    parser = Words()
    parser.feed(page)
    assert parser.open == []
    assert parser.fetched == []
    assert "script" not in parser.count
    return parser, " ".join(" ".join(parser.text).split())


def plain(markdown):
    """Without the marks of Markdown."""
    return " ".join(re.sub(r"[*`\\]", "", markdown).split())


def skipped(run, cells, pair=SAME, reason="cannot do it", **fields):
    """The run in which a pair was skipped in some cells, or has another verdict there."""
    fields = {"kind": Kind.SKIPPED, "reason": reason, **fields}
    return replace(
        run,
        verdicts=tuple(
            replace(one, verdict=replace(one.verdict, **fields))
            if (one.case, one.dtype) in cells and (one.actual, one.expected) == pair
            else one
            for one in run.verdicts
        ),
    )


def renamed(run, case="", implementation=""):
    """The run with another name for the case 'small', or for 'user.two'."""

    def named(one):
        return implementation if implementation and one == "user.two" else one

    def cell(one):
        return replace(
            one,
            case=case if case and one.case == "small" else one.case,
            outcomes=tuple(replace(each, name=named(each.name)) for each in one.outcomes),
            pairs=tuple(replace(each, actual=named(each.actual), expected=named(each.expected)) for each in one.pairs),
        )

    return replace(
        run,
        cases={**run.cases, case: run.cases["small"]},
        cells=tuple(map(cell, run.cells)),
        verdicts=tuple(
            replace(
                one,
                case=case if case and one.case == "small" else one.case,
                actual=named(one.actual),
                expected=named(one.expected),
            )
            for one in run.verdicts
        ),
    )


def test_an_issued_certificate_says_all_it_has_to(four):
    one = certify(four, *NEAR, ["float64"])
    markdown = render_certificate(one)
    _, page = read(render_certificate_page(one))
    assert markdown.startswith("# Equivalence certificate\n\n**user.one is equivalent to numpy.adam.outside** under")
    assert "✓ user.one is equivalent to numpy.adam.outside under" in page
    (bound,) = one.bounds
    told = [
        "on 2 cases in float64.",
        "2 cases of the same formula, with every differing bit accounted for by rounding; "
        f"weights differ by at most {bound.lr.value:.1e} lr ({bound.lr.case}, step {bound.lr.step}).",
        "Left out, as -d float64 asks: 2 of the 4 cells of the run (a case in a dtype), "
        "small (float32); wide (float32). All of them could be.",
        "Nothing about other hyperparameters, cases, shapes, steps, versions, processors or devices than these.",
        one.digest,
        f"numpy {four.workers['numpy']['packages']['numpy']}, Python {four.environment['python']}",
        four.environment["processor"],
        f"parity {four.version}",
    ]
    for text in (plain(markdown), page):
        for line in told:
            assert line in text
    assert "| wide | 0.01 | 0.9 | 0.999 | 0.001 | 0 | no |" in markdown
    for clause in one.clauses:
        row = f"| {clause.case} | float64 | same formula: operation-order | 5 | {clause.compared} | "
        assert row in markdown
        assert clause.input_digest[:12] in page


def test_equal_bits_are_called_so_and_equal_values_are_not(four):
    one = certify(four, *SAME)
    assert "**user.two is equivalent, bit for bit, to user.one** under" in render_certificate(one)
    assert "**float64 and float32**: all 510 elements of w, m and v are equal after every step." in render_certificate(
        one
    )
    assert summary(one) == (
        "issued: user.two is equivalent, bit for bit, to user.one on 2 cases in float64 and float32; "
        "every weight is equal"
    )
    zeros = replace(one, bounds=tuple(replace(bound, zeros=3) for bound in one.bounds))
    assert "**user.two is equivalent to user.one** under" in render_certificate(zeros)
    assert "Zeros that differ in sign, and count as equal: 3 in float64 and 3 in float32." in render_certificate(zeros)


def test_what_makes_a_bound_weak_is_told(four):
    one = certify(four, *NEAR)
    (first, second) = one.bounds
    far = replace(first, lr=replace(first.lr, value=7.25), unmoved=1, partial=2, nonfinite=1_000)
    text = render_certificate(replace(one, bounds=(far, second)))
    assert "- In float64 rounding takes weights more than a full step apart: is that near enough for you?" in text
    assert "- No weight moved on either side in 1 of 2 cases in float64: equality says little there." in text
    assert "- A side hides m, v or vmax in 2 of 2 cases in float64: nothing is said of what is hidden." in text
    assert "- Elements that are NaN or inf, on both sides alike: 1,000 in float64." in text


def test_the_power_of_a_budget_stands_in_its_line(four):
    one = certify(four, *NEAR)
    power = Power("small", "float64", "operations", 1, caught=3, applicable=4, missed=("late",))
    clause = replace(one.clauses[0], ground=certified.Ground.WITHIN, power=power)
    text = render_certificate(replace(one, clauses=(clause,)))
    assert "| within the budget, which catches 3 of 4 wrong Adams; misses late |" in text
    text = render_certificate(replace(one, bounds=(replace(one.bounds[0], weakest=power),)))
    told = "- Of the budgets that are a ground in float64 the weakest (small) catches 3 of 4 wrong Adams; misses late."
    assert told in text


def test_a_refusal_says_why_where_and_what_to_do(four):
    one = certify(four, *OTHER)
    markdown = render_certificate(one)
    parser, page = read(render_certificate_page(one))
    assert markdown.startswith(
        "# Equivalence certificate: cannot be issued\n\n**numpy.adam.hat and numpy.adam.outside**"
    )
    assert "✕ Cannot be issued for numpy.adam.hat and numpy.adam.outside" in page
    told = [
        "Not the same formula: 4 of 4 cells. epsilon stands in another place of the formula (4 cells).",
        "Where: small (float64, float32); wide (float64, float32).",
        "No bound measured here holds for other gradients.",
    ]
    for text in (plain(markdown), page):
        for line in told:
            assert line in text
        assert re.search(r"parity explain (small|wide) numpy\.adam\.hat numpy\.adam\.outside -d float32", text)
        assert "is equivalent" not in text
        assert "Digest" not in text
    assert parser.count["li"] == 1
    assert "What can be certified" not in page


def test_many_reasons_of_one_kind_are_one_and_the_largest_comes_first(four):
    run = skipped(four, {("small", "float32")})
    stale = replace(skipped(run, {("wide", "float32"), ("wide", "float64")}, reason="another"), stale=("a: b",))
    one = certify(stale, *SAME)
    lines = [line for line in render_certificate(one).splitlines() if line.startswith("- **")]
    assert len(lines) == 2
    assert lines[0].startswith("- **The run has stale expectations.** a: b. Mend the case file")
    assert lines[1].startswith(
        "- **A framework cannot do what the case asks: 3 of 4 cells.** another; cannot do it. Where: "
    )


def test_many_cases_are_counted_by_dtype(four):
    one = certify(skipped(four, {("small", "float32")}), *SAME)
    (clause,) = one.reasons[0].clauses
    many = [replace(clause, case=f"case-{number}") for number in range(5)]
    assert certified.where(many) == "5 cases in float32"
    assert certified.where(many[:2]) == "case-0 (float32); case-1 (float32)"


def test_what_can_be_certified_is_a_command_without_a_path(four):
    one = certify(skipped(four, {("small", "float32"), ("small", "float64")}), *SAME)
    command = "parity report RUN_DIRECTORY --certificate user.two user.one -k wide"
    for text in (render_certificate(one), read(render_certificate_page(one))[1]):
        assert "2 of the 4 cells (a case in a dtype)" in text
        assert command in text
        assert "What holds all the same" in text
    assert narrowing_command(one, "runs/latest") == command.replace("RUN_DIRECTORY", "runs/latest")


def test_a_pair_that_was_never_compared_is_told_apart_and_a_plugin_needs_its_file(four):
    text = render_certificate(certify(four, *NEVER))
    assert "Never compared, though both were run: no case states what is expected of this pair: 4 of 4 cells" in text
    assert "`parity explain CASE FILE.py:one numpy.adam.hat -d float32`" in text


@pytest.mark.parametrize("refused", [False, True])
def test_hostile_names_stay_text_and_inside_the_folder(four, refused):
    run = renamed(four, NASTY, NASTY)
    wrong = {"kind": Kind.DIVERGED, "reason": NASTY, "as_expected": False}
    run = skipped(run, {(NASTY, "float32")}, (NASTY, "user.one"), **wrong) if refused else run
    one = certify(run, NASTY, "user.one")
    assert one.issued is not refused
    parser, page = read(render_certificate_page(one))
    assert "alert('a | b')" in page
    assert parser.count["title"] == 1
    markdown = render_certificate(one)
    fenced = re.sub(r"^```console\n\$ [^\n]*\n```$", "", markdown, flags=re.MULTILINE)
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", fenced)
    assert {line.count("`") for line in fenced.splitlines()} == {0, 2}
    assert refused is ("`parity explain " in markdown)
    head, *rows = [line for line in markdown.partition("<details>")[2].splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {head.count("|")}
    assert re.fullmatch(r"certificate-[\w.]+-user\.one", file_stem(one))


def test_different_names_never_share_a_file(four):
    one = certify(four, *SAME)
    names = ["user.two", "user_two", "user/two", "user-two", "../user.two", "u" * 300, "u" * 301, "user.two\n"]
    stems = [file_stem(replace(one, actual=replace(one.actual, name=name))) for name in names]
    assert len(set(stems)) == len(names)
    assert stems[0] == "certificate-user.two-user.one"
    assert all(re.fullmatch(r"[\w.-]{1,240}", stem) for stem in stems)


def test_the_same_run_gives_the_same_bytes(four):
    pages = {
        (render_certificate(one), render_certificate_page(one)) for one in (certify(four, *NEAR), certify(four, *NEAR))
    }
    assert len(pages) == 1


@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", [NEAR, OTHER])
def test_the_main_part_is_one_sheet_and_the_cases_follow_on_the_next(four, tmp_path, pair):
    (tmp_path / "page.html").write_text(render_certificate_page(certify(four, *pair)))
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    printed = f"--print-to-pdf={tmp_path / 'page.pdf'}"
    subprocess.run(
        [CHROMIUM, *arguments, printed, tmp_path / "page.html"], check=True, capture_output=True, timeout=240
    )
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    assert re.search(rb"/MediaBox \[0 0 59[45]\.?\d* 84[12]", pdf)
