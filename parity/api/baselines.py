"""The library's front for baselines: save one, hold today's Adams against it, hold two against each other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from parity.baseline.check import Checked, check, choose_baseline, hold
from parity.baseline.document import selecting
from parity.baseline.saving import Recorded, Selection, save
from parity.baseline.store import Baseline, baselines_in, check_files, obtained_beside
from parity.case.catalogue import select_cases
from parity.core.environment import describe_environment
from parity.core.errors import NothingCompared, UsageError
from parity.engine.candidates import select_candidates
from parity.numerics.formats import FORMATS, format_named

OnDone = Callable[[str, int, int], None]
"""Called with the name of a cell that is recorded, how many are, and of how many."""


def unheard(name: str, done: int, total: int) -> None:
    """Nobody watches."""


def save_baseline(
    root: Path | str,
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Iterable[str] = (),
    *,
    keyword: str = "",
    timeout: float | None = 300.0,
    update: bool = False,
    on_done: OnDone = unheard,
) -> tuple[Baseline, tuple[Recorded, ...]]:
    """Record implementations on cases, and keep digests of every step and bits of some in a folder of `root`.

    Returns the baseline, and what could not be recorded. root: a folder with one of every environment. cases,
    implementations, dtypes, keyword: as in `run`. timeout: seconds a worker may take for one answer, None for ever.
    update: replaces what this environment has there, as far as selected. on_done: called with the name of a cell that
    is recorded, how many are, and of how many. ParityError where there is a baseline already.
    """
    selected, whole = _selection(cases, implementations, dtypes, keyword, timeout)
    return save(selected, Path(root), update=update, whole=whole, on_cell=_counted(selected, on_done))


def check_baseline(
    root: Path | str,
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Iterable[str] = (),
    *,
    keyword: str = "",
    timeout: float | None = 300.0,
    update: bool = False,
    on_done: OnDone = unheard,
) -> Checked:
    """Record as `save_baseline` does, and hold every entry against the baseline of the nearest environment.

    cases, implementations, dtypes, keyword, timeout, on_done: as in `save_baseline`. update: what is missing or changed
    is written into the baseline; without it beside `root`, as ``root.obtained``. ParityError
    where there is no sound baseline, NothingCompared where nothing could be compared.
    """
    folder, dtypes = Path(root), tuple(dtypes)
    baselines = baselines_in(folder)
    for one in baselines:
        check_files(one)
    selected, whole = _selection(cases, implementations, dtypes, keyword, timeout)
    baseline, environment = choose_baseline(baselines, describe_environment())
    held = check(selected, baseline, environment, obtained_beside(folder), update=update, whole=whole,
                 on_cell=_counted(selected, on_done))  # fmt: skip
    command = ("parity", "baseline", "check", *selecting(cases, implementations, dtypes, keyword), "-o", str(root))
    return replace(held, command=command)


def diff_baselines(before: Path | str, after: Path | str) -> Checked:
    """Hold one baseline against another, and run nothing.

    before, after: each the folder of an environment, or a folder with one of them. ParityError where one is missing,
    altered or ambiguous.
    """
    known = {case.name: case for case in select_cases()}
    held = hold(the_baseline(Path(before)), the_baseline(Path(after)), known)
    return replace(held, command=("parity", "baseline", "diff", str(before), str(after)))


def the_baseline(path: Path) -> Baseline:
    """The one baseline in a folder, every file of it checked; UsageError where there are several."""
    found = baselines_in(path)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise UsageError(f"{path}: holds {len(found)} baselines; name one of them: {names}")
    check_files(found[0])
    return found[0]


def _selection(
    paths: Sequence[Path | str],
    implementations: Sequence[str],
    dtypes: Iterable[str],
    keyword: str,
    timeout: float | None,
) -> tuple[Selection, bool]:
    """What is selected, and whether that is all there is."""
    wanted = tuple(format_named(dtype).name for dtype in dtypes)
    cases = select_cases(paths, keyword)
    with tempfile.TemporaryDirectory(prefix="parity-") as logs:
        candidates = select_candidates(implementations, Path(logs), timeout)
    chosen = Selection(cases, candidates, wanted or tuple(FORMATS), timeout=timeout)
    if not any(set(case.dtypes) & set(chosen.dtypes) for case in cases):
        raise NothingCompared("no case is selected, so there is nothing to record")
    return chosen, not (paths or implementations or wanted or keyword)


def _counted(selection: Selection, on_done: OnDone) -> Callable[[str, str], None]:
    total = sum(dtype in selection.dtypes for case in selection.cases for dtype in case.dtypes)
    done = count(1)
    return lambda case, dtype: on_done(f"{case} {dtype}", next(done), total)
