"""comparison.md and comparison.html: two runs side by side, on disk."""

from __future__ import annotations

from pathlib import Path

from parity.core.files import write_atomically
from parity.report.html.side_by_side import render_comparison
from parity.report.html.templates import missing
from parity.report.panels.side_by_side import SideBySide
from parity.report.side_by_side import render_side_by_side

COMPARISON = "comparison.md"
COMPARISON_PAGE = "comparison.html"


def write_comparison(found: SideBySide, folder: Path) -> tuple[Path, ...]:
    """Write both, the page only where Jinja2 is installed; what was written."""
    texts = {COMPARISON: render_side_by_side(found)}
    if not missing():
        texts[COMPARISON_PAGE] = render_comparison(found)
    folder.mkdir(parents=True, exist_ok=True)
    remove_comparison(folder)
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in texts)


def remove_comparison(folder: Path) -> None:
    """What stands there tells of other runs."""
    for name in (COMPARISON, COMPARISON_PAGE):
        (folder / name).unlink(missing_ok=True)
