"""The page of two trainings in a browser: it asks for nothing, fits every width, and its charts can be read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import parity

By = pytest.importorskip("selenium.webdriver.common.by").By

pytestmark = pytest.mark.timeout(600)

LONG = "encoder.layers.0.self_attention.query_projection.weight"

BOXES = """
return [...document.querySelectorAll(arguments[0])].map((one) => {
  const {left, right, top, bottom} = one.getBoundingClientRect();
  return [left, right, top, bottom];
});
"""


@pytest.fixture(scope="module")
def pages():
    """Where the page stands once it is made."""
    return []


@pytest.fixture
def page(pages, tmp_path, write_recording):
    """Two trainings of many tensors and steps, one with another step size, and gradients of its own from step 50 on."""
    if pages:
        return pages[0]
    random = np.random.default_rng(1)
    weights = {name: random.normal(size=(3, 4)).astype(np.float32) for name in (LONG, *map(str, range(20)))}
    gradients = [
        {name: random.normal(size=one.shape).astype(np.float32) for name, one in weights.items()} for _ in range(120)
    ]
    others = [*gradients[:50], *({name: -one for name, one in step.items()} for step in gradients[50:])]
    one = write_recording("one", weights, gradients)
    two = write_recording("two", weights, others, hyper=parity.Hyper(lr=1.1e-3))
    parity.compare_trainings(one, two, output=tmp_path / "told")
    pages.append(tmp_path / "told" / "report.html")
    return pages[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_asks_for_nothing(page, visit, asked_for, fits, width, theme):
    browser = visit(page, width=width, theme=theme)
    fits(theme)
    assert browser.get_log("browser") == []
    assert asked_for() <= {"about", "file", "data"}
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        assert browser.find_elements(By.CSS_SELECTOR, link.get_attribute("href").rpartition("/")[2].split("html")[1])


@pytest.mark.parametrize("width", [400, 1280])
def test_labels_of_the_chart_do_not_overlap_and_its_lines_are_drawn(page, visit, width):
    browser = visit(page, width=width)
    for selector, start, end in ((".steps span", 0, 1), (".field:nth-of-type(1) .ticks span", 2, 3)):
        boxes = sorted(browser.execute_script(BOXES, selector), key=lambda box: box[start])
        assert len(boxes) >= 3
        assert all(later[start] >= earlier[end] - 1 for earlier, later in pairwise(boxes))
        assert all(box[1] <= width for box in boxes)
    fields = browser.execute_script(BOXES, ".field svg")
    assert len(fields) == 2
    for name in ("optimizer", "gradients", "apart", "floor"):
        ((left, right, top, bottom),) = browser.execute_script(BOXES, f".field path.{name}")
        outer = fields[0 if name in ("optimizer", "gradients") else 1]
        assert right - left > 0.9 * (outer[1] - outer[0])
        assert outer[2] - 2 <= top <= bottom <= outer[3] + 2
        assert bottom - top > 4
