"""One release of a package, recorded in an environment of its own, or as it was recorded there before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from parity.api.baselines import OnDone, the_baseline
from parity.api.question import OnBuild, cells_of, counted
from parity.baseline.environments.interpreter import unmet_under
from parity.baseline.saving import Selection
from parity.baseline.side import Place, Side, Site, candidates_for, recorded_side, saved_side, settle
from parity.baseline.store import INDEX

RELEASES = "releases"


@dataclass(frozen=True, slots=True)
class Line:
    """A package whose releases are looked at.

    beside: pins that stand with every release. asked, targets: what is recorded. folder: keeps what was.
    """

    package: str
    beside: tuple[str, ...]
    asked: Selection
    targets: tuple[str, ...]
    folder: Path

    def pin(self, release: str) -> str:
        """As it is installed."""
        return f"{self.package}=={release}"

    def root(self, release: str) -> Path:
        """Where the baseline of a release is kept."""
        return self.folder / RELEASES / release


def release_site(line: Line, release: str, on_build: OnBuild) -> Site:
    """The environment of a release; ParityError where it cannot be built."""
    place = Place("--package", (line.pin(release),), line.beside)
    return settle(place, partial(on_build, line.pin(release)))


def release_side(line: Line, release: str, on_build: OnBuild, on_done: OnDone) -> Side:
    """What a release gives; recorded once for a folder.

    ParityError where its environment cannot be built or no implementation can run there.
    """
    root = line.root(release)
    if any(root.glob(f"*/{INDEX}")):
        return saved_side(the_baseline(root), line.pin(release))
    site = release_site(line, release, on_build)
    candidates = candidates_for(line.targets, [line.pin(release)], [site.python])
    unmet = unmet_under(site.python, candidates)
    on_cell = counted(cells_of(line.asked), on_done)(line.pin(release))
    return recorded_side(site, replace(line.asked, candidates=candidates), unmet, root, on_cell)
