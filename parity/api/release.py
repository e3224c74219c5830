"""One side, recorded in an environment of its own by this machine or another one; one release, or as it was kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from parity.api.baselines import OnDone, the_baseline
from parity.api.question import OnBuild, cells_of, counted, unseen
from parity.baseline.environments.installs import passing
from parity.baseline.environments.interpreter import unmet_under
from parity.baseline.saving import OnCell, Selection
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

    def place(self, release: str) -> Place:
        """Where a release is recorded."""
        return Place("--package", (self.pin(release),), self.beside)

    @property
    def passing(self) -> Path | None:
        """Where environments stand that are discarded, None where they are kept."""
        return self.folder if self.discard else None

    def root(self, release: str) -> Path:
        """Where the baseline of a release is kept."""
        return self.folder / RELEASES / release


def release_site(line: Line, release: str, on_build: OnBuild) -> Site:
    """The environment of a release; ParityError where it cannot be built."""
    return settle(line.place(release), partial(on_build, line.pin(release)), line.passing)


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
    with sides_at(cluster, line.asked, line.targets, line.folder, line.discard) as begin:

        def waiting(release: str) -> Callable[[], Side]:
            return begin(line.place(release), [line.pin(release)], f"{RELEASES}/{release}")

        def recorded(release: str) -> Side:
            if _is_kept(line, release):
                return release_side(line, release, on_build, on_done)
            side = (begun.pop(release, None) or waiting(release))()
            cells = cells_of(line.asked)
            on_done(f"{line.pin(release)}: {cells} cells", cells, cells)
            return side

        begun = {release: waiting(release) for release in dict.fromkeys(first) if not _is_kept(line, release)}
        yield recorded


Beginner = Callable[[Place, Sequence[str], str], Callable[[], Side]]
"""Has a side recorded that is told from others by pins, into a part of a folder; what it gives waits for it."""


@contextmanager
def sides_at(cluster: str, asked: Selection, targets: Sequence[str], folder: Path, discard: bool) -> Iterator[Beginner]:
    """Sides that workers of a cluster record side by side, each in an environment that it builds itself.

    folder: where what they record is kept. discard: as a line has it.
    """
    from parity.engine.cluster import tasks_at

    files = files_for(asked.cases, targets)
    with tasks_at(cluster) as ask:

        def begin(place: Place, pins: Sequence[str], part: str) -> Callable[[], Side]:
            question = (place, asked, tuple(targets), tuple(pins), part, discard)
            task = ask(Task(place.name, _side_there, question, os.getcwd(), files))

            def recorded() -> Side:
                (name, *about), left = task.result()
                keep_files(left, folder, cluster)
                return Side(name, the_baseline(folder / part), *about)

            return recorded

        yield begin


def _side_there(
    root: str, folder: Path, place: Place, asked: Selection, targets: Sequence[str], pins: Sequence[str], part: str,
    discard: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """As `side_of`, where what was sent lies below a folder; what a side says beside its baseline."""
    moved = replace(asked, cases=tuple(case_below(root, case) for case in asked.cases))
    named = [target_below(root, target) for target in targets]
    with passing(folder if discard else None) as where:
        side = side_of(
            settle(place, partial(unseen, place.name), where),
            moved,
            named,
            pins,
            folder / part,
            lambda case, dtype: None,
        )
    failed = tuple(replace(one, folder=None) for one in side.failed)
    return side.name, side.packages, side.notes, side.unmet, failed, side.variables


def side_of(
    site: Site, asked: Selection, targets: Sequence[str], pins: Sequence[str], root: Path, on_cell: OnCell
) -> Side:
    """What can run at a site of what targets name, or of what stands on pins, recorded and kept."""
    candidates = candidates_for(targets, pins, [site.python])
    unmet = unmet_under(site.python, candidates)
    side = recorded_side(site, replace(asked, candidates=candidates), unmet, root, on_cell)
    keep_side(side, root)
    return side


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
        on_cell = counted(cells_of(line.asked), on_done)(line.pin(release))
        site = release_site(line, release, on_build)
        return side_of(site, line.asked, line.targets, [line.pin(release)], root, on_cell)
