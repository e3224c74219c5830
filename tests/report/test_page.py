"""report.html as text: what it says, what it never says as markup, and that it is the same every time."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import parity
from parity.api.run import prepare_output
from parity.case.expectation import Kind
from parity.engine.findings import Finding, Severity
from parity.engine.power import Asked, Naming
from parity.engine.record import read_run
from parity.report import names
from parity.report.html import page, wording
from parity.report.html.page import island, packed, render_page, worker_rows
from parity.report.html.wording import field_kinds
from parity.report.markdown import render
from parity.report.panels.panels import read_panels
from parity.report.reproduction import finding_command, finding_script

HAT = ("numpy.adam.hat", "numpy.adam.outside")
SEEN = {"eps": 1e-3}
NASTY = "</script><script>alert('a & b')</script>"

VOID = {"meta", "link", "br", "wbr", "input"}


class Tags(HTMLParser):
    """Counts elements and sees that each is closed where it should be; collects what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.fetched = [], {}, []

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [
            value for name, value in attributes if name in ("src", "href") and not value.startswith(("#", "data:"))
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def views_of(text, number=0):
    """What the bundle of a pair holds: [html, chart] for every view."""
    (content,) = re.findall(rf'<script type="text/plain" id="bundle-{number}">([^<]+)</script>', text)
    return json.loads(zlib.decompress(b64decode(content)))


@pytest.fixture
def made(run_small, tmp_path):
    """Run implementations; (run, panels, page)."""

    def make(*implementations, **keys):
        run_small(*implementations, **keys)
        run = read_run(tmp_path / "run")
        panels = read_panels(run, tmp_path / "run")
        return run, panels, render_page(run, panels)

    return make


def flat(text):
    """Text as a browser shows its lines: one space for any."""
    return " ".join(text.split())


def test_the_answer_comes_first_then_findings_twins_matrix_pairs_epsilon_and_method(made):
    _, _, text = made(*HAT, hyper=SEEN)
    ids = ("answer", "findings", "accuracy", "matrix", "pairs", "epsilon", "method")
    places = [text.index(f'<section id="{name}"') for name in ids]
    assert places == sorted(places)
    parsed(text)


def test_where_no_setting_is_known_two_formulas_are_not_called_rounding(made, monkeypatch):
    _, panels, _ = made(*HAT, hyper=SEEN)
    (conclusion,) = panels.conclusions
    assert "eps" in wording.remedy(conclusion)
    monkeypatch.setattr(wording, "_remedies", lambda *_: [])
    assert wording.remedy(conclusion) == "No setting is known that makes them the same."


def test_the_answer_says_same_or_not_by_how_much_since_when_why_and_what_to_set(made):
    run, panels, text = made(*HAT, hyper=SEEN)
    size = panels.conclusions[0].by_dtype[0].largest.lr
    text = flat(text)
    assert "Not the same Adam." in text
    assert f"In float32 they differ in 1 of 1 case, from step 1 on: weights by {size:.3g} lr (small)." in text
    assert "Why: epsilon stands in another place of the formula (1 case)." in text
    assert "give numpy.adam.outside at step t the eps of numpy.adam.hat divided by sqrt(1 - beta2^t)" in text
    assert "all 1 verdicts, over 1 case in 1 cell" in text
    assert run.exit_code == 0


def test_a_pair_shows_its_split_ladder_elements_and_chart(made):
    _, panels, text = made(*HAT, hyper=SEEN)
    ((html, chart),) = views_of(text)
    assert html in text
    element = panels.views[HAT].views[0].elements[0]
    for told in ("epsilon: hat -&gt; outside", "<caption>w, in lr, after step", "A - B", element.actual):
        assert told in flat(html)
    assert chart["steps"] == [1, 2, 3, 4, 5]
    assert chart["first"] == 1
    assert chart["noise"] > 0
    assert 'role="img" aria-label="Difference by step' in html


def test_the_same_run_gives_the_same_bytes(made, tmp_path):
    run, _, text = made(*HAT, hyper=SEEN, dtypes=["float32", "float64"])
    assert render_page(run, read_panels(run, tmp_path / "run")) == text


def test_nothing_is_fetched_from_anywhere(made):
    _, _, text = made(*HAT, hyper=SEEN)
    assert parsed(text).fetched == []
    assert "default-src 'none'" in text


def test_every_text_of_a_run_stays_text(made):
    run, panels, plain = made(*HAT, hyper=SEEN)
    nasty_run, nasty_panels = planted(run, panels)
    text = render_page(nasty_run, nasty_panels)
    assert parsed(text).count == parsed(plain).count
    assert "alert('a & b')" not in text
    ((html, _),) = views_of(text)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def planted(run, panels):
    """The same run with a nasty name for the case, and nasty reasons."""
    dump = type_adapter(run)
    content = json.loads(dump.dump_json(run))
    nasty = json.loads(json.dumps(content).replace('"small', '"' + json.dumps(NASTY)[1:-1]))
    for one in nasty["verdicts"]:
        one["verdict"]["because"] = NASTY
    for finding in nasty["findings"]:
        finding["detail"] = NASTY
    nasty["stale"] = []
    found = dump.validate_json(json.dumps(nasty))
    (views,) = panels.views.values()
    (view,) = views.views
    judged = found.verdicts[0]
    explanation = replace(view.explanation, case=NASTY)
    changed = replace(views, views=(replace(view, judged=judged, explanation=explanation),))
    conclusion = panels.conclusions[0]
    told = conclusion.by_dtype[0]
    size = replace(told.largest, case=NASTY)
    conclusion = replace(conclusion, by_dtype=(replace(told, typical=size, largest=size, formula=(NASTY,)),))
    spots = tuple(replace(spot, case=NASTY) for spot in panels.heat.spots)
    return found, replace(
        panels, views={HAT: changed}, conclusions=(conclusion,), heat=replace(panels.heat, spots=spots)
    )


def type_adapter(run):
    from pydantic import TypeAdapter

    return TypeAdapter(type(run))


def test_an_island_cannot_end_its_element():
    text = island({"name": NASTY + "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": NASTY + "\u2028"}


def test_what_is_packed_comes_back():
    assert zlib.decompress(b64decode(packed("grün" * 100))).decode() == "grün" * 100


def test_an_incomplete_run_says_so_at_the_top(made):
    run, panels, _ = made(*HAT, hyper=SEEN)
    text = flat(render_page(replace(run, complete=False, stopped="interrupted"), panels))
    banner = text.index("<strong>This run is not complete</strong> (interrupted): 1 of 1 cells were run.")
    assert banner < text.index('class="conclusions"')
    assert "Everything</strong>" not in text


def test_what_is_not_as_expected_is_told_before_the_findings(made):
    expect = [{"actual": HAT[0], "expected": HAT[1], "verdict": "IDENTICAL", "because": "Nobody should think so."}]
    text = flat(made(*HAT, hyper=SEEN, expect=expect)[2])
    assert "Not everything is as expected:</strong> 1 of 1 verdicts are not." in text
    assert text.index("<h2>Not as expected</h2>") < text.index('<section id="findings"')
    assert "IDENTICAL was expected" in text
    assert "unexpected" in text[text.index('<table class="heat" id="heat">') :]


@pytest.mark.parametrize(
    "keys",
    [
        {"steps": 1},
        {"parameters": [{"name": "one", "shape": [1]}]},
        {"parameters": [{"name": "scalar", "shape": []}], "steps": 1, "dtypes": ["bfloat16"]},
        {"parameters": [{"name": "none", "shape": [0]}, {"name": "one", "shape": [1]}]},
        {"gradients": {"kind": "constant", "value": 0.0}, "hyper": {"eps": 1e-3}},
    ],
)
def test_the_smallest_runs_have_a_page(made, keys):
    _, _, text = made(*HAT, **keys)
    parsed(text)


def test_equal_bits_and_nan_have_a_page(made, write_adam):
    expect = [{"actual": "user.one", "expected": "user.*", "verdict": "IDENTICAL", "because": "The same text."}]
    lost = write_adam("lost", after="w['bias'][:] = np.float32('nan')")
    _, _, text = made(write_adam("one"), write_adam("two"), lost, expect=expect)
    parsed(text)
    assert "Identical.</p>" in text
    assert "NaN/inf" in text
    charts = [chart for number in (0, 1) for _, chart in views_of_any(text, number)]
    assert any(None in values for chart in charts for _, _, values in chart["curves"])


def views_of_any(text, number):
    return views_of(text, number) if f'id="bundle-{number}"' in text else []


def test_a_run_too_large_to_draw_says_why_it_has_no_curves(made):
    run, panels, text = made(*HAT, hyper=SEEN)
    assert "No pair is looked at closely" not in text
    assert "No pair is looked at closely" in render_page(run, replace(panels, views={}))


def test_without_differences_no_plotly_is_carried(made, write_adam):
    expect = [{"actual": "user.one", "expected": "user.two", "verdict": "IDENTICAL", "because": "The same text."}]
    _, _, text = made(write_adam("one"), write_adam("two"), expect=expect)
    assert 'id="plotly"' not in text
    assert "No pair is looked at closely" not in text
    assert len(text) < 200_000


@pytest.mark.parametrize(
    ("subject", "command"),
    [
        ("numpy.adam.hat / numpy.adam.outside", "parity explain small numpy.adam.hat numpy.adam.outside -d float32"),
        ("numpy.adam.hat", "parity run -k small -i numpy.adam.hat -d float32"),
        ("w float32", "parity run -k small -d float32"),
    ],
)
def test_a_finding_has_the_command_that_shows_it(made, subject, command):
    run, _, _ = made(*HAT, hyper=SEEN)
    finding = Finding(Severity.WARNING, subject, "title", "detail", ("small float32",))
    assert finding_command(finding, run) == command
    assert finding_command(replace(finding, where=()), run) == ""


def test_the_script_of_a_finding_is_python(made):
    run, _, _ = made(*HAT, hyper=SEEN)
    finding = Finding(Severity.WARNING, "numpy.adam.hat", "title", "detail", ("small float32",))
    script = finding_script(finding, run)
    compile(script, "script", "exec")
    assert "['numpy.adam.hat', 'numpy.adam.outside']" in script
    assert finding_script(replace(finding, subject="w float32"), run) == ""


def test_without_the_extra_the_report_says_what_to_install(command, run_small, tmp_path, monkeypatch):
    run_small(*HAT, hyper=SEEN)
    (tmp_path / "run" / "report.md").unlink()
    monkeypatch.setattr(page, "NEEDED", ("jinja2", "no_such_package"))
    code, out, err = command("report", tmp_path / "run")
    assert (code, out) == (0, f"{tmp_path / 'run' / 'report.md'}\n")
    assert err == "parity: no report.html: no_such_package missing; pip install 'parity[report]'\n"
    assert (tmp_path / "run" / "report.md").exists()
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_page_of_an_earlier_run_does_not_stay(command, run_small, tmp_path):
    run_small(*HAT, hyper=SEEN)
    assert command("report", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "report.html").exists()
    run_small(*HAT, hyper=SEEN, options=parity.Options(resume=True))
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_page_makes_room_before_a_run_begins(tmp_path):
    (tmp_path / "report.html").write_text("of another run")
    prepare_output(tmp_path, resume=False)
    assert not (tmp_path / "report.html").exists()


def test_processes_that_see_the_same_packages_share_a_row(made):
    run, _, _ = made(*HAT, hyper=SEEN)
    (worker,) = run.workers.values()
    other = {**worker, "packages": {"numpy": "1.0"}}
    rows = list(worker_rows(replace(run, workers={"b": worker, "a": worker, "c": other})))
    assert [names for names, *_ in rows] == ["a, b", "c"]
    (features,) = worker["machine"].values()
    assert rows[1][1:] == (worker["python"], "numpy 1.0", f"NumPy instruction set {features}")


def test_both_reports_say_how_many_wrong_adams_are_named_where_somebody_counted(made):
    run, panels, _ = made(*HAT, hyper=SEEN)
    counted = (
        Naming(Asked.ONE_FAULT, "float64", "", 84, 83, 0, 0.87),
        Naming(Asked.ONE_FAULT, "float64", "amsgrad", 3, 2, 0, 0.5),
        Naming(Asked.SHIPPED, "float64", "", 27, 27, 0, 4.0),
    )
    text, told = (make(replace(run, names=counted), *more) for make, more in ((render_page, (panels,)), (render, ())))
    assert "<td>float64</td><td>84</td><td>83 (98.8%)</td><td>0</td><td>0.87</td>" in text
    assert "| wrong in one way | float64 | 84 | 83 (98.8%) | 0 | 0.87 |" in told
    assert "| amsgrad | 2 of 3 |" in told
    assert '<th scope="row">amsgrad</th>\n<td>2 of 3</td>' in text
    parsed(text)
    for without in (render_page(replace(run, names=()), panels), render(replace(run, names=()))):
        assert names.TITLE not in without


def test_what_was_skipped_does_not_hide_what_was_compared():
    kinds = ((Kind.SKIPPED, 1), (Kind.WITHIN, 3), (Kind.IDENTICAL, 2))
    assert field_kinds(kinds) == ("≈ 3 WITHIN", "2 identical, 1 skipped")
    assert field_kinds(kinds[:1])[1] == ""
