"""The folder of plots beside report.md."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from parity.core.files import write_atomically
from parity.report.plots.plot import FOLDER, Plots

OWN = ("matrix.svg", "difference-*.svg", "accuracy.svg", "epsilon-*.svg")
"""Names of the files that are written, and removed; anything else that stands there is not ours."""


def write_plots(plots: Plots, folder: Path) -> None:
    """Write every plot of a run directory; before report.md, which shows them."""
    place = folder / FOLDER
    if place.is_symlink() or place.is_file():
        # Through a link the files would land elsewhere.
        place.unlink()
    if plots.drawn:
        place.mkdir(exist_ok=True)
    for one in plots.drawn:
        write_atomically(place / one.name, one.svg)


def remove_plots(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove plots that report.md does not show, or no longer; after it was written."""
    place = folder / FOLDER
    if place.is_symlink() or not place.is_dir():
        return
    for path in [path for pattern in OWN for path in place.glob(pattern)]:
        if path.name not in keep:
            path.unlink()
    if not any(place.iterdir()):
        place.rmdir()
