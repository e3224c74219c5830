"""What is made of a run directory: its pages, two of them side by side, a certificate, a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from parity.core.errors import UsageError
from parity.core.files import write_atomically
from parity.engine.record import read_run
from parity.engine.tables import PARQUET
from parity.explain.headlines import read_headlines
from parity.report.html.documents import remove_certificates, remove_comparison, write_comparison
from parity.report.html.page import missing, render_page
from parity.report.markdown import render
from parity.report.panels.certificate import Certificate
from parity.report.panels.certifying import certify
from parity.report.panels.changes import read_changes
from parity.report.panels.panels import read_panels
from parity.report.panels.side_by_side import SideBySide, side_by_side
from parity.report.plots.draw import draw
from parity.report.plots.plot import remove_plots, write_plots

REPORT = "report.md"
PAGE = "report.html"


def report(folder: Path | str, changes: Sequence[Path | str] = ()) -> tuple[str, ...]:
    """Write report.md, its plots and report.html of a run directory again; packages that the page lacks, if any.

    changes: folders or JSON that upgrades, matrices, bisections and baselines left, to be shown with it. ParityError
    where something of the directory, or of those, is missing, altered or of another schema.
    """
    folder = Path(folder)
    run, told = read_run(folder), read_changes([Path(path) for path in changes])
    panels, chosen = read_panels(run, folder, told), read_headlines(run, folder)
    plots, lacking = draw(panels), missing()
    # All are made before one is written: half a report beside an older half would tell of two states.
    page = "" if lacking else render_page(run, panels)
    write_plots(plots, folder)
    write_atomically(folder / REPORT, render(run, chosen, plots, told))
    remove_plots(folder, keep=[one.name for one in plots.drawn])
    if page:
        write_atomically(folder / PAGE, page)
    return lacking


def report_side_by_side(
    before: Path | str, after: Path | str, output: Path | str | None = None
) -> tuple[SideBySide, tuple[Path, ...]]:
    """Write comparison.md and, where Jinja2 is installed, comparison.html of two run directories; and what is in them.

    output: the folder to write into, None for the second run directory. ParityError where something of a directory is
    missing, altered or of another schema, NothingCompared where no pair stands in both with the same inputs.
    """
    folder = Path(after if output is None else output)
    if output is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, not a folder")
    runs = [read_run(Path(one)) for one in (before, after)]
    found = side_by_side(*runs)
    return found, write_comparison(found, folder)


def certificate(
    folder: Path | str, actual: str, expected: str, dtypes: Sequence[str] = (), keyword: str = ""
) -> Certificate:
    """Whether two implementations of a run directory are equivalent: `issued`, or `reasons` why it cannot be.

    folder: the run directory. actual, expected: names in it. dtypes, keyword: what to look at, as ``-d`` and ``-k``
    have it; all where they are empty. ParityError where the run
    is missing or altered, or a name or dtype is unknown, NothingCompared where nothing is selected.
    """
    return certify(read_run(Path(folder)), actual, expected, dtypes, keyword)


def divergence_frame(folder: Path | str) -> object:
    """The divergence table of a run directory as a pandas DataFrame.

    A row for every case, dtype, pair, quantity, parameter and step. folder: the run directory. Columns: max_abs in the
    unit of the quantity, max_ulp in units in the last place of the stored dtype, max_steps in lr (one full step of the
    optimizer); elements, differing, nonfinite are counts. FileNotFoundError where there is no run.
    """
    return pq.read_table(Path(folder) / PARQUET).to_pandas()


def remove_pages(folder: Path) -> None:
    """Remove the pages of a run directory, which would tell of an earlier run."""
    (folder / PAGE).unlink(missing_ok=True)
    remove_comparison(folder)
    remove_plots(folder)
    remove_certificates(folder)
