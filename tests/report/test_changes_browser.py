"""The page of changes in a browser: links open what they lead to, nothing is fetched, themes and widths fit."""

from __future__ import annotations

import json
import shutil

import pytest

from parity.report.html.documents import render_changes
from parity.report.panels.changes import changes_of
from parity.report.panels.documents import document_of

By = pytest.importorskip("selenium.webdriver.common.by").By
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait

pytestmark = pytest.mark.timeout(600)

SECONDS = 60

KINDS = ("upgrade", "matrix", "bisect", "baseline")


@pytest.fixture
def opened(visit, documents, tmp_path):
    """The page of a document, in a window of its own size and theme."""

    def show(kind="matrix", **look):
        page = tmp_path / f"{kind}.html"
        page.write_text(render_changes(changes_of(document_of(documents[kind], kind))))
        return visit(page, **look)

    return show


def shown(browser, selector):
    return [one for one in browser.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(opened, asked_for, kind):
    browser = opened(kind)
    for link in browser.find_elements(By.CSS_SELECTOR, "main a"):
        browser.execute_script("arguments[0].click()", link)
    assert browser.get_log("browser") == []
    schemes = asked_for()
    assert schemes <= {"about", "file", "data"}
    assert "file" in schemes


def test_a_field_opens_the_block_that_it_leads_to(opened):
    browser = opened()
    assert not shown(browser, "details.pair .hint")
    (field,) = browser.find_elements(By.CSS_SELECTOR, "#map td:is(.heat-3, .heat-4, .heat-5) a")
    target = field.get_attribute("href").partition("#")[2]
    field.click()
    (block,) = browser.find_elements(By.CSS_SELECTOR, "details.pair[open]")
    assert block.get_attribute("id") == target
    assert "user.plugin in float32: 1 of 1 changed" in block.text
    # Folded again, the same link opens it again, though the address stays the same.
    browser.execute_script("arguments[0].open = false", block)
    browser.execute_script("arguments[0].click()", field)
    assert block.get_attribute("open")


def test_an_address_opens_its_block_and_what_could_not_be_told_is_led_to(opened):
    browser = opened()
    target = browser.find_element(By.CSS_SELECTOR, "details.pair").get_attribute("id")
    assert shown(opened(fragment=f"#{target}"), f"#{target}[open] .causes")
    links = [one.get_attribute("href").partition("#")[2] for one in shown(browser, "#map td.untold a")]
    assert links
    for one in links:
        assert browser.find_element(By.ID, one).tag_name in ("tr", "span", "details")


def test_values_stand_in_what_is_folded(opened):
    browser = opened("upgrade")
    block = browser.find_element(By.CSS_SELECTOR, "details.pair")
    block.find_element(By.TAG_NAME, "summary").click()
    assert not shown(browser, ".elements")
    block.find_element(By.CSS_SELECTOR, "details details > summary").click()
    (table,) = shown(browser, ".elements")
    heads = [one.text for one in table.find_elements(By.CSS_SELECTOR, "thead th")]
    assert heads == ["element", "step", "differ", "before", "after", "apart"]
    assert "0x1" in table.text


def test_symbols_and_words_say_what_colours_do(opened):
    browser = opened()
    fields = shown(browser, "#map tbody td")
    assert [one.text.split()[0] for one in fields] == ["?", "✕", "=", "≠", "✕", "="]


def test_the_command_is_copied_or_chosen(opened):
    browser = opened("upgrade")
    # What the button says must stay until it is read.
    browser.execute_script("window.setTimeout = () => 0")
    button = browser.find_element(By.CSS_SELECTOR, ".copy")
    button.click()
    WebDriverWait(browser, SECONDS).until(lambda one: button.text in ("Copied", "Selected"))
    if button.text == "Selected":
        command = browser.find_element(By.CSS_SELECTOR, ".code code").text
        assert browser.execute_script("return getSelection().toString()") == command


@pytest.mark.parametrize("kind", KINDS)
def test_everything_can_be_reached_with_the_keyboard(opened, kind):
    browser = opened(kind)
    for one in browser.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert one.get_attribute("tabindex") == "0"
        assert one.get_attribute("aria-label")
    unnamed = "return [...document.querySelectorAll('button, a')].filter(one => !one.textContent.trim()).length"
    assert browser.execute_script(unnamed) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("light", {}),
        ("dark", {"theme": "dark"}),
        ("narrow", {"width": 390, "height": 844}),
        ("print", {"media": "print", "theme": "dark"}),
    ],
)
def test_a_page_has_its_theme_and_fits_its_width(opened, fits, kind, name, look):
    browser = opened(kind, **look)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    fits(name)


def test_in_the_report_of_a_run_links_open_what_they_lead_to_as_well(
    browser, opened, four_folder, documents, command, tmp_path
):
    run, answer = tmp_path / "run", tmp_path / "matrix.json"
    shutil.copytree(four_folder, run)
    answer.write_text(json.dumps(documents["matrix"]))
    assert command("report", run, "--changes", answer)[0] == 0
    opened()
    browser.get((run / "report.html").as_uri())
    (field,) = browser.find_elements(By.CSS_SELECTOR, "#changes td:is(.heat-3, .heat-4, .heat-5) a")
    browser.execute_script("arguments[0].click()", field)
    (block,) = browser.find_elements(By.CSS_SELECTOR, "#changes details.pair[open]")
    assert block.get_attribute("id") == field.get_attribute("href").partition("#")[2]
    assert browser.get_log("browser") == []
    pair = browser.find_element(By.CSS_SELECTOR, "#pairs details.pair > summary")
    browser.execute_script("arguments[0].click()", pair)
    assert browser.find_elements(By.CSS_SELECTOR, "#pairs details.pair[open]")
    assert browser.get_log("browser") == []
