"""report.html of a document of its own: one page, with everything it needs inside."""

from __future__ import annotations

from importlib.util import find_spec

from parity.panels.changes import Changes
from parity.report.html.page import FOLDER, templates
from parity.version import VERSION

NEEDED = ("jinja2",)


def missing() -> tuple[str, ...]:
    """Packages that the page needs and that are not installed."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def render_changes(changes: Changes) -> str:
    """The page of one document; `missing` says whether it can be made."""
    return (
        templates()
        .get_template("changes_page.html.j2")
        .render(
            one=changes,
            version=VERSION,
            style=(FOLDER / "style.css").read_text(encoding="utf-8"),
            script="".join((FOLDER / name).read_text(encoding="utf-8") for name in ("copy.js", "follow.js")),
        )
    )
