"""Pages of extreme runs in a browser: nothing but NaN, inf or equal bits, 100,000 verdicts, two runs side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from parity.engine.record import count, read_run
from parity.engine.result import Account
from parity.report.html.page import MOST_SPOTS, render_page
from parity.report.panels.panels import read_panels

By = pytest.importorskip("selenium.webdriver.common.by").By
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait

pytestmark = [pytest.mark.timeout(600), pytest.mark.thorough]

HAT, OUTSIDE = "numpy.adam.hat", "numpy.adam.outside"
SECONDS = 60

LOGARITHMIC = ("max_ulp", "max_steps", "max_abs", "max_rel")

# Opens every pair, waits for its charts, presses every button, and tells what each chart was given.
EVERY_CHART = """
const done = arguments[0], given = {};
const later = (time) => new Promise((resolve) => setTimeout(resolve, time));
const until = async (met) => { for (let tries = 0; !met() && tries < 600; tries++) await later(50); };
(async () => {
  for (const pair of document.querySelectorAll(".pair")) {
    pair.open = true;
    const told = given[pair.querySelector("h3").textContent.split(" ")[0]] = [];
    if (!pair.querySelector(".chart")) continue;
    await until(() => pair.querySelector(".plot .trace"));
    for (const button of pair.querySelectorAll(".metrics button")) {
      button.click();
      await later(50);
      const plot = pair.querySelector(".plot");
      for (const trace of plot.data) told.push([button.dataset.kind, plot.layout.yaxis.type, trace.y, trace.x]);
    }
  }
  done(given);
})();
"""


NAN, INF = "w['bias'][:] = np.float32('nan')", "w['bias'][:] = np.float32('inf')"
ODD = {
    "lost": NAN,
    "lost_too": NAN,
    "infinite": INF,
    "negative": INF.replace("'inf'", "'-inf'"),
    "nothing": f"{NAN}; w['kernel'][:] = w['bias'][0]; m['bias'][:] = v['bias'][:] = w['bias'][0]",
    "plain": "pass",
    "equal": "pass",
    "once": "w['bias'][0] += np.float32(t == 3)",
}
PAIRS = {"lost": "lost_too", "lost_too": "plain", "infinite": "lost", "negative": "infinite", "nothing": "plain",
         "equal": "plain", "once": "plain"}  # fmt: skip
UNLIKE = {"verdict": "DIVERGED", "nonfinite": True, "because": "They are odd."}


def checked(browser):
    """What every chart of the page was given, by the first of its pair; no word of the console."""
    given = browser.execute_async_script(EVERY_CHART)
    assert browser.get_log("browser") == []
    for kind, axis, values, steps in (one for told in given.values() for one in told):
        if kind in LOGARITHMIC:
            assert axis == "log"
            assert all(isinstance(value, int | float) and value > 0 for value in [*values, *steps])
    return given


def test_nan_inf_and_equal_bits_are_drawn_without_a_word_of_the_console(
    browser, visit, command, run_small, write_adam, tmp_path
):
    targets = [write_adam(name, after=lines) for name, lines in ODD.items()]
    expect = [{"actual": f"user.{one}", "expected": f"user.{other}", **UNLIKE} for one, other in PAIRS.items()]
    run_small(*targets, expect=expect)
    assert command("report", tmp_path / "run")[0] == 0
    visit(tmp_path / "run" / "report.html")
    given = checked(browser)
    assert set(given) == {f"user.{name}" for name in PAIRS}
    for name, told in given.items():
        alike = name in ("user.lost", "user.equal")
        assert {kind for kind, *_ in told if kind in LOGARITHMIC} == (set() if alike else set(LOGARITHMIC))


def test_one_element_and_one_step_are_drawn_too(browser, visit, command, run_small, tmp_path):
    run_small(HAT, OUTSIDE, parameters=[{"name": "one", "shape": []}], steps=1, hyper={"eps": 1e-3})
    assert command("report", tmp_path / "run")[0] == 0
    visit(tmp_path / "run" / "report.html")
    (told,) = checked(browser).values()
    assert {len(values) for kind, _, values, _ in told if kind in LOGARITHMIC} == {1}


def many(run, cases, pairs):
    """A run of so many cases and pairs in four dtypes, made of one cell of a real one; no explanations are kept."""
    (cell,), (judged,) = run.cells, run.verdicts
    (pair,) = cell.pairs
    names = [f"user.adam{number}" for number in range(pairs)]
    outcomes = (cell.outcome(pair.expected), *(replace(cell.outcome(pair.actual), name=name) for name in names))
    results = tuple(replace(pair, actual=name) for name in names)
    cells, verdicts = [], []
    for number in range(cases):
        for dtype in ("float64", "float32", "float16", "bfloat16"):
            asked = {"case": f"case-{number}", "dtype": dtype}
            cells.append(replace(cell, **asked, outcomes=outcomes, pairs=results, account=Account()))
            verdicts += [replace(judged, **asked, actual=name) for name in names]
    told = next(iter(run.cases.values()))
    return replace(
        run,
        cases={f"case-{number}": told for number in range(cases)},
        cells=tuple(cells),
        verdicts=tuple(verdicts),
        findings=(),
        counts=count(len(cells), cells, verdicts),
    )


def test_a_page_of_100_000_verdicts_is_small_opens_filters_and_draws_a_table_when_it_is_asked_for(
    browser, visit, run_small, tmp_path
):
    run = many(run_small(HAT, OUTSIDE, hyper={"eps": 1e-3}), cases=500, pairs=50)
    assert run.counts.pairs == 100_000 > MOST_SPOTS
    text = render_page(run, read_panels(run, tmp_path / "run"))
    assert len(text) < 8_000_000
    (tmp_path / "many.html").write_text(text)
    visit(tmp_path / "many.html")
    assert browser.execute_script("return document.querySelectorAll('*').length") < 20_000
    browser.execute_script(
        "const one = document.getElementById('filter-case'); one.value = 'case-77';"
        "one.dispatchEvent(new Event('change', {bubbles: true}));"
    )
    assert browser.find_element(By.ID, "filter-count").text == "200 of 200 fields"
    pair = browser.find_element(By.CSS_SELECTOR, ".pair")
    assert pair.find_elements(By.TAG_NAME, "tr") == []
    browser.execute_script("arguments[0].open = true", pair)
    WebDriverWait(browser, SECONDS).until(lambda _: pair.find_elements(By.CSS_SELECTOR, ".cases tbody tr"))
    assert len(pair.find_elements(By.CSS_SELECTOR, ".cases tbody tr")) == 500
    assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, case_text, adam_text):
    """The page of a run with a right plug-in beside one with a wrong one."""
    from parity.api.report import report_side_by_side

    folder = tmp_path_factory.mktemp("comparison")
    (folder / "a-case-with-quite-a-long-name.toml").write_text(case_text(hyper={"eps": 1e-3}))
    for name, swap in (("right", ()), ("wrong", [("1 - hyper.beta2**t", "1.0")])):
        (folder / "plugin.py").write_text(adam_text("plugin", swap=swap))
        targets = [f"{folder / 'plugin.py'}:plugin", OUTSIDE, *([HAT] if name == "wrong" else [])]
        parity.run([folder / "a-case-with-quite-a-long-name.toml"], targets, output=folder / name)
    assert not read_run(folder / "wrong").stale
    report_side_by_side(folder / "right", folder / "wrong")
    return folder / "wrong" / "comparison.html"


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("light", {}),
        ("dark", {"theme": "dark"}),
        ("narrow", {"width": 390}),
        ("print", {"media": "print", "theme": "dark"}),
    ],
)
def test_two_runs_side_by_side_have_their_theme_and_fit_their_width(browser, visit, fits, comparison, name, look):
    visit(comparison, **look)
    fits(name)
    assert browser.get_log("browser") == []
    for one in browser.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert one.get_attribute("tabindex") == "0"
        assert one.get_attribute("aria-label") or one.get_attribute("aria-labelledby")
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        assert browser.find_elements(By.CSS_SELECTOR, link.get_dom_attribute("href"))
