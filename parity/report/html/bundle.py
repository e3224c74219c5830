"""What a page carries deflated, and what its scripts read."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from parity.panels.view import View

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
    """What the chart of a view is drawn from; noise: the noise floor of w in units of lr, None where there is none."""
    meaning = None if view.explanation is None else view.explanation.meaning
    return {
        "steps": view.curves.steps,
        "first": view.curves.first,
        "noise": meaning.noise if meaning is not None and meaning.noise > 0 else None,
        "curves": [[one.quantity, one.metric, one.values] for one in view.curves.curves],
    }


def plotly_source() -> str:
    """plotly.min.js as the installed Plotly has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
