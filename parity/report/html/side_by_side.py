"""comparison.html: two runs side by side in one file that needs nothing beside it."""

from __future__ import annotations

from importlib.util import find_spec

from parity.panels.side_by_side import SideBySide
from parity.report import side_by_side as told
from parity.report.html.page import FOLDER, templates

NEEDED = ("jinja2",)


def missing() -> tuple[str, ...]:
    """Packages that the page needs and that are not installed."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def render_comparison(found: SideBySide) -> str:
    """The page of two runs; `missing` says whether it can be made."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    return templates().get_template("comparison.html.j2").render(found=found, told=told, style=style)
