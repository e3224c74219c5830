"""comparison.html: two runs side by side in one file that needs nothing beside it."""

from __future__ import annotations

from parity.report import side_by_side as told
from parity.report.html.templates import asset, templates
from parity.report.panels.side_by_side import SideBySide


def render_comparison(found: SideBySide) -> str:
    """The page of two runs; `parity.report.html.templates.missing` says whether it can be made."""
    style = asset("style.css")
    return templates().get_template("comparison.html.j2").render(found=found, told=told, style=style)
