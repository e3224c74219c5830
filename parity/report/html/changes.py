"""report.html of a document of its own: one page, with everything it needs inside."""

from __future__ import annotations

from parity.core.version import VERSION
from parity.report.html.templates import asset, templates
from parity.report.panels.changes import Changes


def render_changes(changes: Changes) -> str:
    """The page of one document; `parity.report.html.templates.missing` says whether it can be made."""
    return (
        templates()
        .get_template("changes_page.html.j2")
        .render(
            one=changes,
            version=VERSION,
            style=asset("style.css"),
            script=asset("copy.js", "follow.js"),
        )
    )
