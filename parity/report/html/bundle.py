"""What a page carries deflated, and what its scripts read."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from parity.numerics.formats import format_named
from parity.report.explanation import TERMS
from parity.report.figures import class_text
from parity.report.panels.density import density_of, histogram_of
from parity.report.panels.shares import shares_of
from parity.report.panels.view import View

LEVEL = 9


def packed(text: str) -> str:
    """Text deflated, in base64: the same text, the same characters."""
    return base64.b64encode(zlib.compress(text.encode(), LEVEL)).decode()


def island(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end that element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def chart(view: View) -> dict[str, Any]:
    """What the charts of a view are drawn from; noise: the floor of w in units of lr, None where there is none."""
    one = view.explanation
    found: dict[str, Any] = {
        "steps": view.curves.steps,
        "first": view.curves.first,
        "noise": one.meaning.noise if one is not None and one.meaning.noise > 0 else None,
        "curves": [[curve.quantity, curve.metric, curve.values] for curve in view.curves.curves],
    }
    if one is not None and one.spread:
        densities = [density_of(spread, format_named(one.dtype)) for spread in one.spread]
        found["histograms"] = [[each.quantity, sorted(histogram_of(each).items())] for each in one.spread]
        found["densities"] = [[each.quantity, each.starts, each.cells] for each in densities]
        farthest = max(distance for each in densities for _, distance, _ in each.cells)
        found["classes"] = [class_text(distance) for distance in range(farthest + 1)]
    if one is not None and one.split:
        shares = shares_of(one)
        terms = [
            [place, name, shares.by_term[term]]
            for place, (term, name) in enumerate(TERMS.items())
            if term in shares.by_term
        ]
        found["shares"] = {"steps": shares.steps, "terms": terms}
    return found


def plotly_source() -> str:
    """plotly.min.js as the installed Plotly has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
