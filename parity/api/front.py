"""The library's front: run cases, compare traces; values and DataFrames come back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from parity.case.case import Case
from parity.case.catalogue import load_case_file, load_catalogue, shipped_cases
from parity.case.expectation import Expectation
from parity.comparison.trace import read_trace
from parity.comparison.traces import Divergence, compare_traces
from parity.core.digest import digest_of_file
from parity.core.errors import ParityError, UsageError, nearest
from parity.core.files import write_atomically
from parity.core.selection import matcher
from parity.core.version import VERSION
from parity.engine.account import Explaining
from parity.engine.candidates import known_names, select_candidates
from parity.engine.plan import Cell, Plan, plan_cells
from parity.engine.power import PowerTable, read_power
from parity.engine.record import FILE, Run, read_run, record, write_run
from parity.engine.result import CellResult
from parity.engine.run import PARTS, OnCell, Options, Progress, execute, part_paths
from parity.engine.tables import CSV, PARQUET, merge_tables, write_csv
from parity.explain.account import account
from parity.explain.explain import candidate_of, explain_case
from parity.explain.explanation import Explanation
from parity.explain.headlines import read_headlines
from parity.explain.libraries import Libraries
from parity.numerics.formats import FORMATS, format_named
from parity.report.certificate_files import remove_certificates
from parity.report.comparison import remove_comparison, write_comparison
from parity.report.html.page import missing, render_page
from parity.report.markdown import render
from parity.report.panels.certificate import Certificate
from parity.report.panels.certifying import certify
from parity.report.panels.changes import read_changes
from parity.report.panels.panels import read_panels
from parity.report.panels.side_by_side import SideBySide, side_by_side
from parity.report.plots.draw import draw
from parity.report.plots.folder import remove_plots, write_plots

REPORT = "report.md"
PAGE = "report.html"

_OWN = (FILE, PARQUET, CSV, REPORT)
_OWN_FOLDERS = (PARTS, "logs", "traces")


def select_cases(paths: Sequence[Path | str] = (), keyword: str = "") -> tuple[Case, ...]:
    """Cases from files and folders (the shipped catalogue where none is given) whose names match `keyword`."""
    cases: list[Case] = []
    for path in [Path(path) for path in paths] or [shipped_cases()]:
        if path.is_dir():
            cases += load_catalogue(path)
        elif path.is_file():
            cases += load_case_file(path)
        else:
            beside = [file.name for file in path.parent.glob("*.toml") if not file.name.startswith("_")]
            raise ParityError(f"there is no case file or folder {str(path)!r}; {nearest(path.name, beside)}")
    matches = matcher(keyword)
    chosen: list[Case] = []
    for case in cases:
        # The same file twice, or a file and its folder, asks the question once.
        if matches(case.name) and case not in chosen:
            chosen.append(case)
    return tuple(chosen)


def make_plan(
    paths: Sequence[Path | str],
    keyword: str,
    implementations: Sequence[str],
    dtypes: Iterable[str],
    logs: Path,
    timeout: float | None = None,
) -> Plan:
    """What a run with these selections would do."""
    wanted = [format_named(dtype).name for dtype in dtypes] or list(FORMATS)
    cases = select_cases(paths, keyword)
    whole = not keyword and all(Path(path).is_dir() for path in paths)
    return plan_cells(cases, select_candidates(implementations, logs, timeout), wanted, known_names(), whole=whole)


def run(
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Iterable[str] = (),
    output: Path | str = Path("runs/latest"),
    *,
    keyword: str = "",
    options: Options | None = None,
    on_cell: OnCell | None = None,
    explained: bool = True,
) -> Run:
    """Run cases on implementations and leave their table, run.json and report.md in `output`.

    cases: files or folders, none for the shipped ones. implementations: names, patterns of names,
    or plug-ins ('module:attribute', 'file.py:attribute'); none for all that are shipped. explained: every pair is
    held against its twins, and why it differs is recorded. Raises
    ParityError for a bad case or name, NothingCompared where no pair is left.
    """
    options = options or Options()
    folder = Path(output)
    check_output(folder)
    power = read_power(shipped_cases())
    with tempfile.TemporaryDirectory(prefix="parity-") as logs:
        plan = make_plan(cases, keyword, implementations, dtypes, Path(logs), options.timeout)
    if options.resume:
        check_resumed(folder, plan)
    prepare_output(folder, resume=options.resume)
    with Libraries(options.timeout) as libraries:
        explaining = Explaining(partial(account, libraries=libraries)) if explained else None
        progress = execute(plan, folder, options, on_cell or _silent, explaining)
    return conclude(plan, progress, folder, power, csv=options.csv)


def conclude(plan: Plan, progress: Progress, folder: Path, power: PowerTable, *, csv: bool = False) -> Run:
    """Judge what was run, and leave its table (csv: as text as well), run.json and report.md in its folder."""
    outcome = record(plan, progress, VERSION, power)
    done = {(cell.case, cell.dtype) for cell in progress.results}
    finished = [cell for cell in plan.cells if (cell.case.name, cell.dtype) in done]
    merge_tables((part_paths(folder, cell.name)[1] for cell in finished), folder)
    # One of an earlier run must not stay beside this table.
    (folder / CSV).unlink(missing_ok=True)
    if csv:
        write_csv(folder)
    outcome = replace(outcome, table=digest_of_file(folder / PARQUET))
    write_run(outcome, folder)
    write_atomically(folder / REPORT, render(outcome, read_headlines(outcome, folder)))
    # Pages of what stood here before a resumed run would tell of another one.
    _remove_pages(folder)
    return outcome


def _remove_pages(folder: Path) -> None:
    (folder / PAGE).unlink(missing_ok=True)
    remove_comparison(folder)
    remove_plots(folder)
    remove_certificates(folder)


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

    dtypes, keyword: what to look at, as ``-d`` and ``-k`` have it; all where they are empty. ParityError where the run
    is missing or altered, or a name or dtype is unknown, NothingCompared where nothing is selected.
    """
    return certify(read_run(Path(folder)), actual, expected, dtypes, keyword)


def compare(actual: Path | str, expected: Path | str, expectation: Expectation | None = None) -> Divergence:
    """Compare two trace folders; ParityError where one is missing, truncated or altered."""
    return compare_traces(read_trace(Path(actual)), read_trace(Path(expected)), expectation)


def explain(
    case: Path | str,
    actual: str,
    expected: str,
    dtypes: Iterable[str] = (),
    output: Path | str | None = None,
    *,
    timeout: float | None = 300.0,
) -> tuple[Explanation, ...]:
    """Run two implementations on a case and say why they differ, dtype by dtype.

    case: the name of a shipped case, or a file (whose sweep is explained member by member). actual, expected: names
    or plug-ins. output: where the run with its traces stays, None for nowhere. ParityError for a bad case, name or
    dtype, NothingCompared where a side does not come to its end.
    """
    wanted = [format_named(dtype).name for dtype in dtypes]
    cases = cases_named(case)
    folder = None if output is None else Path(output)
    if folder is not None:
        check_output(folder)
    sides = [candidate_of(target, timeout) for target in (actual, expected)]
    if folder is not None:
        prepare_output(folder, resume=False)
    return tuple(one for each in cases for one in explain_case(each, sides[0], sides[1], wanted, folder, timeout))


def cases_named(case: Path | str) -> tuple[Case, ...]:
    """The shipped case of that name, or the cases of a file; ParityError with the nearest name."""
    if Path(case).suffix == ".toml" or Path(case).is_file():
        return select_cases([case])
    shipped = select_cases()
    found = tuple(one for one in shipped if one.name == str(case))
    if not found:
        raise ParityError(f"case {str(case)!r} is unknown; {nearest(str(case), [one.name for one in shipped])}")
    return found


def divergence_frame(folder: Path | str) -> object:
    """The divergence table of a run directory as a pandas DataFrame."""
    return pq.read_table(Path(folder) / PARQUET).to_pandas()


def check_output(folder: Path) -> None:
    """UsageError where a folder holds something that is not a run, so that nothing foreign is replaced."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not _holds_run(folder):
        raise UsageError(f"-o {folder}: holds files that are no run of parity; name an empty or a new folder")


def _holds_run(folder: Path) -> bool:
    """Whether the folder is known by its parts, or by a run.json of ours, to be a run directory."""
    parts = folder / PARTS
    if parts.is_dir():
        return all(part.suffix in (".json", ".parquet", ".tmp") for part in parts.iterdir())
    try:
        read_run(folder)
    except ParityError:
        return False
    return True


def check_resumed(folder: Path, plan: Plan) -> None:
    """UsageError where the run holds what the plan leaves out: fewer cases must not turn it green."""
    if not (folder / FILE).exists():
        return
    before = read_run(folder)
    planned = {(cell.case.name, cell.dtype, *pair) for cell in plan.cells for pair in cell.pairs}
    held = {(one.case, one.dtype, one.actual, one.expected) for one in before.verdicts}
    missing = [name for name in before.cases if name not in {cell.case.name for cell in plan.cells}]
    missing += [f"{' '.join(one[:2])} {one[2]} / {one[3]}" for one in sorted(held - planned)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"--resume: the run in {folder} also holds {missing[0]}{more}; "
            "select at least the same, or leave out --resume"
        )


def prepare_output(folder: Path, resume: bool) -> None:
    """Make the folder; without `resume` an earlier run in it makes room."""
    if not resume:
        for name in _OWN:
            (folder / name).unlink(missing_ok=True)
        for name in _OWN_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        _remove_pages(folder)
    (folder / PARTS).mkdir(parents=True, exist_ok=True)


def _silent(cell: Cell, result: CellResult, done: int, total: int) -> None:
    """No progress is shown."""
