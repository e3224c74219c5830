"""Where a command tells what it kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def show_kept(screen: Console, folder: Path) -> None:
    """The folder, and why there is no page in it where there is none."""
    from parity.api.changes import PAGE, no_page

    screen.print(f"kept: {folder}", markup=False, style="dim")
    if not (folder / PAGE).exists():
        screen.print(no_page(), markup=False, style="dim")
