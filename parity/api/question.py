"""What is asked of every release alike: cases, dtypes, and the implementations that some of them can run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from parity.api.baselines import OnDone
from parity.baseline.environments.interpreter import unmet_under
from parity.baseline.saving import OnCell, Selection
from parity.baseline.side import Unmet, able_somewhere, candidates_for
from parity.baseline.store import Baseline
from parity.case.catalogue import select_cases
from parity.core.errors import NothingCompared
from parity.numerics.formats import FORMATS, format_named

OnBuild = Callable[[str, str], None]
"""Called with what is built and a line of the installer."""


def unseen(what: str, line: str) -> None:
    """Nobody watches."""


def asked_for(cases: Sequence[Path | str], dtypes: Sequence[str], keyword: str, timeout: float | None) -> Selection:
    """A selection whose implementations are yet to be found; NothingCompared where it has no cell."""
    wanted = tuple(format_named(dtype).name for dtype in dtypes) or tuple(FORMATS)
    asked = Selection(select_cases(cases, keyword), (), wanted, timeout=timeout)
    if not cells_of(asked):
        raise NothingCompared("no case is selected, so there is nothing to record")
    return asked


def cells_of(selection: Selection) -> int:
    """How many cells are recorded for a selection under one interpreter."""
    return sum(dtype in selection.dtypes for case in selection.cases for dtype in case.dtypes)


def with_candidates(
    asked: Selection,
    targets: Sequence[str],
    pins: Sequence[str],
    pythons: Sequence[str],
    saved: Sequence[Baseline] = (),
) -> tuple[Selection, tuple[Unmet, ...]]:
    """The selection with the implementations that can run on a side, and what each lacks under every interpreter.

    pins: by which sides are told apart. saved: baselines that are sides too.
    """
    recorded = {name for one in saved for _, _, name in one.places()}
    candidates = candidates_for(targets, pins, pythons)
    unmets = tuple(unmet_under(python, candidates) for python in pythons)
    names = able_somewhere([one.name for one in candidates], targets, unmets, recorded)
    return replace(asked, candidates=tuple(one for one in candidates if one.name in names)), unmets


def counted(cells: int, on_done: OnDone) -> Callable[[str], OnCell]:
    """For every side by name, what is to be called with its cells; they are counted through all sides."""
    done = count(1)

    def of(side: str) -> OnCell:
        return lambda case, dtype: on_done(f"{side}: {case} {dtype}", next(done), cells)

    return of
