"""Run cases: what is selected, what the plan is, what a run leaves in its folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from parity.api.report import REPORT, remove_pages
from parity.case.catalogue import select_cases, shipped_cases
from parity.core.digest import digest_of_file
from parity.core.errors import ParityError, UsageError
from parity.core.files import write_atomically
from parity.core.version import VERSION
from parity.engine.account import Explaining
from parity.engine.agenda import Place
from parity.engine.candidates import asked_for, known_names, select_candidates
from parity.engine.kinds import FOLDER as KINDS
from parity.engine.kinds import PARQUET as KINDS_PARQUET
from parity.engine.kinds import Kinds, MachineKind, forget_other_kinds, hold_kinds
from parity.engine.plan import Cell, Plan, plan_cells
from parity.engine.power import PowerTable, read_power
from parity.engine.record import FILE, Run, read_run, record, write_run
from parity.engine.result import CellResult
from parity.engine.run import PARTS, OnCell, Options, Progress, execute, part_paths
from parity.engine.tables import CSV, PARQUET, merge_tables, write_csv
from parity.engine.workers import LOGS
from parity.explain.account import account
from parity.explain.headlines import read_headlines
from parity.explain.libraries import Libraries
from parity.numerics.formats import FORMATS, format_named
from parity.report.markdown import render

_OWN = (FILE, PARQUET, CSV, REPORT, KINDS_PARQUET)
_OWN_FOLDERS = (PARTS, LOGS, "traces", KINDS)


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
    candidates = select_candidates(implementations, logs, timeout)
    asked = asked_for(implementations, candidates)
    return plan_cells(cases, candidates, wanted, known_names(), whole=whole, asked=asked)


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
    cluster: str = "",
    each_kind: bool = False,
) -> Run:
    """Run cases on implementations and leave their table, run.json and report.md in `output`.

    cases: files, folders or recordings, none for the shipped ones. implementations: names, patterns of names,
    or plug-ins ('module:attribute', 'file.py:attribute'); none for all that are shipped. dtypes: of float64, float32,
    float16 and bfloat16, none for all. keyword: only cases whose names match, as ``-k`` has it. options: how it is
    executed. on_cell: called with every cell that is done. explained: every pair is held against its twins, and why it
    differs is recorded. cluster: address of the scheduler of a Dask cluster whose workers run the cells, or
    ``local:4``. each_kind: every cell is run on every kind of machine among them, whose traces are kept, and `kinds`
    says how far they are apart. ParityError for a bad case, name or dtype, NothingCompared where no pair is left.
    """
    options = options or Options()
    folder = Path(output)
    if each_kind and not cluster:
        raise UsageError("--each-kind belongs to --cluster ADDRESS, whose workers may be of several kinds")
    if each_kind:
        options = replace(options, keep_traces=True)
    check_output(folder)
    power = read_power(shipped_cases())
    with tempfile.TemporaryDirectory(prefix="parity-") as logs:
        plan = make_plan(cases, keyword, implementations, dtypes, Path(logs), options.timeout)
    if options.resume:
        check_resumed(folder, plan)
    prepare_output(folder, resume=options.resume)
    explains = partial(explaining_with, options.timeout) if explained else None
    with explains() if explains else nullcontext() as explaining, ExitStack() as ends:
        places: Sequence[Place] = ()
        machines: tuple[MachineKind, ...] = ()
        if cluster:
            from parity.engine.cluster import cluster_at, places_of, places_of_kinds

            there = ends.enter_context(cluster_at(cluster, each_kind=each_kind))
            if each_kind:
                machines, places = places_of_kinds(there, folder, options, explains)
                forget_other_kinds(folder, machines, plan.cells)
            else:
                places = places_of(there, folder, options, explains)
        progress = execute(plan, folder, options, on_cell or _silent, explaining, places)
    kinds = hold_kinds(progress.results, folder, machines) if each_kind else None
    return conclude(plan, progress, folder, power, csv=options.csv, kinds=kinds)


@contextmanager
def explaining_with(timeout: float | None) -> Iterator[Explaining]:
    """Who explains the cells of a run; timeout: seconds that a framework may take for its square roots."""
    with Libraries(timeout) as libraries:
        yield Explaining(partial(account, libraries=libraries))


def conclude(
    plan: Plan, progress: Progress, folder: Path, power: PowerTable, *, csv: bool = False, kinds: Kinds | None = None
) -> Run:
    """Judge what was run, and leave its table (csv: as text as well), run.json and report.md in its folder."""
    outcome = replace(record(plan, progress, VERSION, power), kinds=kinds)
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
    remove_pages(folder)
    return outcome


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
        remove_pages(folder)
    (folder / PARTS).mkdir(parents=True, exist_ok=True)


def _silent(cell: Cell, result: CellResult, done: int, total: int) -> None:
    """No progress is shown."""
