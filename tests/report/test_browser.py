"""report.html in a browser: it asks no network for anything, filters, links and charts work, themes and widths fit."""

from __future__ import annotations

import pytest

By = pytest.importorskip("selenium.webdriver.common.by").By
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait

pytestmark = pytest.mark.timeout(600)

HAT = ("numpy.adam.hat", "numpy.adam.outside")
INSIDE = {"actual": "numpy.adam.inside", "expected": HAT[1], "verdict": "DIVERGED", "because": "Another place."}
LOST = {"actual": "user.*", "expected": HAT[1], "verdict": "DIVERGED", "nonfinite": True, "because": "It breaks."}
HATS = {"actual": HAT[0], "expected": HAT[1], "verdict": "DIVERGED", "because": "Another place."}

SECONDS = 60


@pytest.fixture(scope="module")
def pages():
    """Where the page stands once it is made."""
    return []


@pytest.fixture
def opened(visit, pages, run_small, write_adam, command, tmp_path):
    """The page of a small run with zeros, NaN and two dtypes, in a window of its own size and theme."""
    if not pages:
        lost = write_adam("lost", after="if t == 4: w['bias'][:] = np.float32('nan')")
        expect = [HATS, INSIDE, LOST]
        run_small(*HAT, "numpy.adam.inside", lost, hyper={"eps": 1e-3}, dtypes=["float32", "float64"], expect=expect)
        assert command("report", tmp_path / "run")[0] == 0
        pages.append(tmp_path / "run" / "report.html")

    def show(**look):
        return visit(pages[0], **look)

    return show


def select(browser, name, value):
    browser.execute_script(
        "const one = document.getElementById(arguments[0]); one.value = arguments[1];"
        "one.dispatchEvent(new Event('change', {bubbles: true}));",
        name,
        value,
    )


def shown(browser, selector):
    return [one for one in browser.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


def drawn(browser, pair):
    """Wait for the chart of a pair; its traces as Plotly has them."""
    WebDriverWait(browser, SECONDS).until(
        lambda one: one.find_elements(By.CSS_SELECTOR, f"#{pair} .plot .scatterlayer .trace")
    )
    return browser.execute_script(
        f"return document.querySelector('#{pair} .plot').data.map(one => ({{name: one.name, x: one.x, y: one.y}}))"
    )


def pair_named(browser, actual):
    (found,) = [
        one
        for one in browser.find_elements(By.CSS_SELECTOR, ".pair")
        if one.find_element(By.TAG_NAME, "h3").text.startswith(actual)
    ]
    return found.get_attribute("id")


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(opened, asked_for):
    browser = opened()
    drawn_by_click(browser)
    assert browser.get_log("browser") == []
    schemes = asked_for()
    assert schemes <= {"about", "file", "blob", "data"}
    assert "file" in schemes


def drawn_by_click(browser):
    pair = pair_named(browser, HAT[0])
    browser.find_element(By.CSS_SELECTOR, f"#{pair} > summary").click()
    return drawn(browser, pair)


def test_a_chart_is_drawn_when_its_section_is_opened(opened):
    browser = opened()
    traces = drawn_by_click(browser)
    assert {one["name"] for one in traces} == {"m", "v", "w"}
    assert all(one["x"] == [1, 2, 3, 4, 5] for one in traces)


def test_zero_and_nan_have_places_below_and_above_all_numbers(opened):
    browser = opened()
    pair = pair_named(browser, "user.lost")
    browser.find_element(By.CSS_SELECTOR, f"#{pair} > summary").click()
    (weights,) = [one["y"] for one in drawn(browser, pair) if one["name"] == "w"]
    assert weights[3] == weights[4] > max(weights[:3])
    assert all(isinstance(value, int | float) and value > 0 for value in weights)
    assert "NaN/inf" in browser.execute_script(f"return document.querySelector('#{pair} .plot').layout.yaxis.ticktext")


def chosen(browser, kind):
    """The chart of the first pair after a click on the button of a kind; its traces as Plotly has them."""
    drawn_by_click(browser)
    pair = pair_named(browser, HAT[0])
    browser.find_element(By.CSS_SELECTOR, f'#{pair} [data-kind="{kind}"]').click()
    return browser.execute_script(f"return document.querySelector('#{pair} .plot').data")


def test_elements_are_counted_by_their_distance(opened):
    browser = opened()
    traces = chosen(browser, "histogram")
    assert [one["name"] for one in traces] == ["w", "m", "v"]
    row = f'#{pair_named(browser, HAT[0])} [aria-label="Elements by distance"] tbody tr:first-child td'
    counts = [int(one.get_attribute("textContent")) for one in browser.find_elements(By.CSS_SELECTOR, row)]
    assert [value for value in traces[0]["y"] if value] == [count for count in counts if count]
    assert sum(counts) == 5 * 17
    assert browser.get_log("browser") == []


def test_elements_are_counted_by_their_size_and_distance(opened):
    browser = opened()
    (trace,) = chosen(browser, "density w")
    counted = sum(round(10**value) for row in trace["z"] for value in row if value is not None)
    assert counted == 5 * 17
    assert browser.get_log("browser") == []


def test_shares_of_the_terms_add_up_to_the_whole(opened):
    browser = opened()
    traces = chosen(browser, "shares")
    assert {"formula"} < {one["name"] for one in traces}
    for place in range(len(traces[0]["y"])):
        assert sum(one["y"][place] for one in traces) == pytest.approx(100, abs=1)
    assert browser.get_log("browser") == []


def test_first_difference_and_noise_floor_stand_in_the_chart(opened):
    browser = opened()
    drawn_by_click(browser)
    pair = pair_named(browser, HAT[0])
    browser.find_element(By.CSS_SELECTOR, f"#{pair} [data-kind=max_steps]").click()
    texts = browser.execute_script(
        f"return document.querySelector('#{pair} .plot').layout.annotations.map(one => one.text)"
    )
    assert texts == ["first difference: step 1", "noise floor"]
    pressed = browser.find_elements(By.CSS_SELECTOR, f"#{pair} [aria-pressed=true]")
    assert [one.text for one in pressed] == ["lr"]


def test_another_case_or_dtype_is_shown_where_it_is_chosen(opened):
    browser = opened()
    drawn_by_click(browser)
    pair = pair_named(browser, HAT[0])
    choose = browser.find_element(By.CSS_SELECTOR, f"#{pair} .choose")
    (other,) = [one for one in choose.find_elements(By.TAG_NAME, "option") if one.text.strip() == "small float64"]
    other.click()
    WebDriverWait(browser, SECONDS).until(
        lambda one: "float64" in one.find_element(By.CSS_SELECTOR, f"#{pair} .view h4").text
    )
    assert drawn(browser, pair)


def test_filters_leave_what_matches(opened):
    browser = opened()
    assert len(shown(browser, "#heat tbody tr")) == 3
    select(browser, "filter-dtype", "float64")
    assert [one.text for one in shown(browser, "#heat thead th[data-dtype]")] == ["float64"]
    select(browser, "filter-dtype", "")
    select(browser, "filter-verdict", "CRASHED")
    assert shown(browser, "#heat tbody tr") == []
    select(browser, "filter-verdict", "DIVERGED")
    assert len(shown(browser, "#heat tbody tr")) == 3
    select(browser, "filter-case", "small")
    assert "from step 1" in shown(browser, "#heat tbody td")[0].text
    assert browser.find_element(By.ID, "filter-count").text == "6 of 6 fields"


def test_pairs_are_found_by_where_epsilon_stands(opened):
    browser = opened()
    options = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#filter-epsilon option")]
    assert options == ["all", "in the same place", "in two places", "hat", "inside", "outside"]
    select(browser, "filter-epsilon", "hat")
    (row,) = shown(browser, "#heat tbody tr")
    assert HAT[0] in row.text
    select(browser, "filter-epsilon", "other")
    assert len(shown(browser, "#heat tbody tr")) == 2
    select(browser, "filter-epsilon", "same")
    assert shown(browser, "#heat tbody tr") == []


def test_a_field_leads_to_its_pair_and_dtype(opened):
    browser = opened()
    pair = pair_named(browser, HAT[0])
    field = browser.find_element(By.CSS_SELECTOR, f'#heat td[data-dtype=float64] a[href="#{pair}/float64"]')
    browser.execute_script("arguments[0].click()", field)
    assert drawn(browser, pair)
    assert "float64" in browser.find_element(By.CSS_SELECTOR, f"#{pair} .view h4").text


def test_everything_can_be_reached_with_the_keyboard(opened):
    browser = opened()
    for one in browser.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert one.get_attribute("tabindex") == "0"
        assert one.get_attribute("aria-label") or one.get_attribute("aria-labelledby")
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('button, a, select')].filter(one =>"
        " !(one.textContent.trim() || one.ariaLabel) || (one.tagName === 'SELECT' && !one.labels.length)).length"
    )
    assert unnamed == 0


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("light", {}),
        ("dark", {"theme": "dark"}),
        ("narrow", {"width": 390, "height": 844}),
        ("print", {"media": "print", "theme": "dark"}),
    ],
)
def test_a_page_has_its_theme_and_fits_its_width(opened, fits, name, look):
    browser = opened(**look)
    if name != "print":
        drawn_by_click(browser)
    fits(name)
