"""One release of a package, recorded in an environment of its own, or as it was recorded there before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from parity.api.baselines import OnDone, the_baseline, unheard
from parity.api.question import OnBuild, cells_of, counted, unseen
from parity.baseline.environments.installs import passing
from parity.baseline.environments.interpreter import unmet_under
from parity.baseline.saving import Selection
from parity.baseline.side import (
    SIDE,
    Place,
    Side,
    Site,
    candidates_for,
    keep_side,
    kept_side,
    recorded_side,
    settle,
)
from parity.engine.errand import Task, case_below, files_for, keep_files, target_below

RELEASES = "releases"


@dataclass(frozen=True, slots=True)
class Line:
    """A package whose releases are looked at.

    beside: pins that stand with every release. asked, targets: what is recorded. folder: keeps what was. discard:
    whether an environment that is built for it is removed once its release is recorded.
    """

    package: str
    beside: tuple[str, ...]
    asked: Selection
    targets: tuple[str, ...]
    folder: Path
    discard: bool = False

    def pin(self, release: str) -> str:
        """As it is installed."""
        return f"{self.package}=={release}"

    @property
    def passing(self) -> Path | None:
        """Where environments stand that are discarded, None where they are kept."""
        return self.folder if self.discard else None

    def root(self, release: str) -> Path:
        """Where the baseline of a release is kept."""
        return self.folder / RELEASES / release


def release_site(line: Line, release: str, on_build: OnBuild) -> Site:
    """The environment of a release; ParityError where it cannot be built."""
    place = Place("--package", (line.pin(release),), line.beside)
    return settle(place, partial(on_build, line.pin(release)), line.passing)


Recorder = Callable[[str], Side]
"""What a release gives."""


@contextmanager
def recording_of(
    line: Line, first: Sequence[str], cluster: str, on_build: OnBuild, on_done: OnDone
) -> Iterator[Recorder]:
    """Who records releases: this machine, or the workers of a cluster, each in environments that it builds itself.

    first: those that will be asked for in any case, which workers begin with side by side.
    """
    if not cluster:
        yield partial(release_side, line, on_build=on_build, on_done=on_done)
        return
    from parity.engine.cluster import tasks_at

    files = files_for(line.asked.cases, line.targets)
    with tasks_at(cluster) as ask:
        begun: dict[str, Future[tuple[Any, dict[str, bytes]]]] = {}

        def begin(release: str) -> None:
            if release not in begun and not _is_kept(line, release):
                asked = replace(line.asked, variables=dict(line.asked.variables))
                question = (replace(line, asked=asked), release)
                begun[release] = ask(Task(line.pin(release), _release_there, question, os.getcwd(), files))

        def recorded(release: str) -> Side:
            begin(release)
            if release not in begun:
                return release_side(line, release, on_build, on_done)
            about, left = begun.pop(release).result()
            keep_files(left, line.folder, cluster)
            cells = cells_of(line.asked)
            on_done(f"{line.pin(release)}: {cells} cells", cells, cells)
            return Side(line.pin(release), the_baseline(line.root(release)), *about)

        for release in first:
            begin(release)
        yield recorded


def _release_there(root: str, folder: Path, line: Line, release: str) -> tuple[Any, ...]:
    """As `release_side`, where what was sent lies below a folder; what a side says beside its name and baseline."""
    cases = tuple(case_below(root, case) for case in line.asked.cases)
    targets = tuple(target_below(root, target) for target in line.targets)
    moved = replace(line, asked=replace(line.asked, cases=cases), targets=targets, folder=folder)
    side = release_side(moved, release, unseen, unheard)
    failed = tuple(replace(one, folder=None) for one in side.failed)
    return dict(side.packages), side.notes, dict(side.unmet), failed, dict(side.variables)


def _is_kept(line: Line, release: str) -> bool:
    return (line.root(release) / SIDE).is_file()


def release_side(line: Line, release: str, on_build: OnBuild, on_done: OnDone) -> Side:
    """What a release gives; recorded once for a folder.

    ParityError where its environment cannot be built or no implementation can run there.
    """
    root = line.root(release)
    if _is_kept(line, release):
        return kept_side(the_baseline(root), root)
    shutil.rmtree(root, ignore_errors=True)  # of a recording that was killed
    with passing(line.passing):
        site = release_site(line, release, on_build)
        candidates = candidates_for(line.targets, [line.pin(release)], [site.python])
        unmet = unmet_under(site.python, candidates)
        on_cell = counted(cells_of(line.asked), on_done)(line.pin(release))
        side = recorded_side(site, replace(line.asked, candidates=candidates), unmet, root, on_cell)
        keep_side(side, root)
    return side
