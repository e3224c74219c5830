"""One side of an upgrade: what was recorded there, and why the rest was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from parity.baseline.chosen import Unmet, able
from parity.baseline.place import Site
from parity.baseline.recorded import Recorded
from parity.baseline.saving import OnCell, Selection, save
from parity.baseline.store import Baseline
from parity.core.errors import NothingCompared

Where = tuple[str, str, str]
"""Case, dtype and implementation."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is held against another side.

    name: as it was asked for. packages, notes: of its environment. unmet: what implementations lack that could not
    even be tried; failed: what was tried and gave no trace.
    """

    name: str
    baseline: Baseline
    packages: Mapping[str, str]
    notes: tuple[str, ...]
    unmet: Unmet
    failed: tuple[Recorded, ...]

    def reason(self, where: Where) -> str:
        """Why there is no entry; empty where nobody knows, as of a baseline that was saved before."""
        for one in self.failed:
            if (one.case, one.dtype, one.implementation) == where and one.failure is not None:
                return one.failure.reason
        return " and ".join(lacks.replace("|", " or ") for lacks in self.unmet.get(where[2], ()))


def recorded_side(site: Site, selection: Selection, unmet: Unmet, root: Path, on_cell: OnCell) -> Side:
    """Record what can run there of a selection, as a baseline in a folder of its own.

    NothingCompared, naming the side, where nothing could be recorded.
    """
    runnable = replace(selection, candidates=able(selection.candidates, unmet), python=site.python)
    if not runnable.candidates:
        name = selection.candidates[0].name
        raise NothingCompared(f"{site.name}: no implementation can run there: {name}: {' and '.join(unmet[name])}")
    try:
        baseline, failed = save(runnable, root, update=True, on_cell=on_cell)
    except NothingCompared as error:
        raise NothingCompared(f"{site.name}: {error}") from None
    return Side(site.name, baseline, site.packages, site.notes, unmet, failed)


def saved_side(baseline: Baseline, name: str = "") -> Side:
    """A baseline that was saved before."""
    return Side(name or str(baseline.folder), baseline, {}, (), {}, ())
