"""Several releases, each in an environment of its own, held against the newest or against a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from parity.api.baselines import OnDone, the_baseline, unheard
from parity.api.changes import PAGE, leave_page
from parity.api.question import OnBuild, asked_for, unseen
from parity.api.release import RELEASES, Line, recording_of
from parity.baseline.document import FILES, Document, head, make_room, repeated, selecting
from parity.baseline.environments.installs import SHELF
from parity.baseline.environments.releases import in_order
from parity.baseline.saving import Selection
from parity.baseline.side import Side, saved_side
from parity.baseline.upgrade import Column, ReleaseMatrix, Upgraded, hold_sides, selected
from parity.core.errors import NothingCompared, ParityError, UsageError
from parity.core.files import write_atomically, write_json
from parity.report.upgrade import matrix_lines, matrix_to_json

RESULT = FILES[Document.MATRIX]
SUMMARY = "summary.md"


def matrix(
    package: str,
    releases: Sequence[str],
    beside: Sequence[str] = (),
    cases: Sequence[Path | str] = (),
    implementations: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    *,
    keyword: str = "",
    timeout: float | None = 300.0,
    baseline: Path | None = None,
    output: Path | str = Path("runs/matrix"),
    resume: bool = False,
    cluster: str = "",
    discard: bool = False,
    on_build: OnBuild = unseen,
    on_done: OnDone = unheard,
) -> ReleaseMatrix:
    """Record the same inputs with every release, and hold them against the newest one's.

    package, releases: its name and its versions on an index; one that cannot be had is a column that says why. beside:
    pins that stand with every release. cases, implementations, dtypes, keyword, timeout: as in `upgrade`. baseline:
    what they are held against instead. output: keeps a baseline of every release, the result, a summary and a page.
    resume: releases that it keeps are not recorded again, if the same was asked. cluster: address of the scheduler of a
    Dask cluster whose workers record the releases, or ``local:4``. discard: environments are built there one after
    another, and each is removed once its release is recorded. on_build, on_done: as in `upgrade`. ParityError where the
    newest cannot be had, NothingCompared where no release has anything in common with it.
    """
    ordered = in_order(releases, 1 if baseline is not None else 2)
    asked = asked_for(cases, dtypes, keyword, timeout)
    saved = None if baseline is None else the_baseline(baseline)
    folder = Path(output)
    question = {
        "package": package,
        "with": list(beside),
        "cases": {case.name: case.digest() for case in asked.cases},
        "implementations": list(implementations),
        "dtypes": list(asked.dtypes),
    }
    if resume:
        _check_resumed(folder, question)
    own = (SUMMARY, PAGE) if resume else (SUMMARY, PAGE, RELEASES, SHELF)
    make_room(folder, RESULT, own, () if saved is None else (saved.folder,))
    command = (
        *("parity", "matrix", "--package", package, "--versions", ",".join(ordered), *repeated("--with", beside)),
        *repeated("--baseline", [] if baseline is None else [str(baseline)]),
        *selecting(cases, implementations, dtypes, keyword),
    )
    write_json(folder / RESULT, {**head(Document.MATRIX, command), "finished": False, "asked": question})
    line = Line(package, tuple(beside), asked, tuple(implementations), folder, discard)
    with recording_of(line, ordered[::-1], cluster, on_build, on_done) as recorded:
        if saved is None:
            newest = recorded(ordered[-1])
            columns = [
                _column(one, recorded, lambda side: hold_sides(side, newest, asked.cases)) for one in ordered[:-1]
            ]
            reference = line.pin(ordered[-1])
        else:
            before = saved_side(saved)
            columns = [_column(one, recorded, partial(_held_against, before, asked)) for one in ordered]
            reference = before.name
    found = ReleaseMatrix(package, reference, tuple(columns), command)
    if not any(one.held is not None for one in columns):
        raise NothingCompared(f"nothing was compared with {reference}: {columns[0].why}")
    write_json(folder / RESULT, {"finished": True, "asked": question, **matrix_to_json(found)})
    write_atomically(folder / SUMMARY, "".join(f"{line}\n" for line in matrix_lines(found)))
    leave_page(folder)
    return found


def _check_resumed(folder: Path, question: dict[str, Any]) -> None:
    """UsageError where a folder keeps nothing, or answers to another question."""
    path = folder / RESULT
    if not path.is_file():
        raise UsageError(f"--resume: {path} is missing, so there is nothing to go on from")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["asked"]
        differing = [key for key in question if before[key] != question[key]]
    except (ValueError, KeyError, TypeError):
        raise ParityError(f"{path}: truncated or altered; leave out --resume") from None
    if differing:
        raise UsageError(f"--resume: {folder} answers to other {' and '.join(differing)}; leave out --resume")


def _column(release: str, recorded: Callable[[str], Side], hold: Callable[[Side], Upgraded]) -> Column:
    try:
        return Column(release, hold(recorded(release)))
    except ParityError as error:
        return Column(release, None, str(error))


def _held_against(before: Side, asked: Selection, side: Side) -> Upgraded:
    """Of a baseline only what was tried with the release is looked at."""
    return hold_sides(before, side, asked.cases, partial(selected, asked, side.unmet))
