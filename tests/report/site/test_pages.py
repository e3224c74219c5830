"""Pages as they are seen: in light and dark, on a screen and on a telephone; opened from a folder they ask nobody."""

from __future__ import annotations

import pytest

PAGES = ("index", "four_questions", "api", "commands", "vocabulary", "trainings")
SIZES = [(1280, "light"), (1280, "dark"), (420, "light"), (420, "dark")]
SEARCH = "search/main.js"
"""Which a browser does not let work in a page from a folder; its button is not there then."""


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "theme"), SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_asks_for_files_only(name, width, theme, site, visit, asked_for, fits):
    browser = visit(site / f"{name}.html", width=width, theme=theme)
    fits(theme)
    assert asked_for() <= {"file", "data"}
    assert [one["message"] for one in browser.get_log("browser") if SEARCH not in one["message"]] == []
    assert browser.execute_script("return document.getElementById('search-button')") is None


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_words_can_be_read(name, theme, site, visit):
    """Contrast of every text against what it stands on, by the formula of WCAG 2."""
    browser = visit(site / f"{name}.html", theme=theme)
    worst, text = browser.execute_script(CONTRAST)
    assert worst >= 4.5, text


CONTRAST = """
const parse = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
const light = (rgb) => {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = (element) => {
  if (element === null) return [255, 255, 255];
  return over(parse(getComputedStyle(element).backgroundColor), paper(element.parentElement));
};
const seen = (element) =>
  element === null ? 1 : Number(getComputedStyle(element).opacity) * seen(element.parentElement);
let worst = [21, ""];
const words = document.createTreeWalker(document.querySelector('[role="main"]'), NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const text = words.currentNode.textContent.trim(), element = words.currentNode.parentElement;
  if (!text || !element.getClientRects().length) continue;
  const below = paper(element), ink = parse(getComputedStyle(element).color);
  const [one, other] = [light(over([...ink.slice(0, 3), ink[3] * seen(element)], below)), light(below)];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < worst[0]) worst = [ratio, text];
}
return worst;
"""
