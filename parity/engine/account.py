"""What explains a cell, as it is kept in a run directory; made above the engine, from whole traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parity.engine.explanations import Document
from parity.engine.plan import Cell
from parity.engine.result import Account, CellResult


@dataclass(frozen=True, slots=True)
class Explained:
    """A cell's account, and what is kept beside it of its headline pairs; None where it has none."""

    account: Account
    document: Document | None = None


Explainer = Callable[[Cell, CellResult, Path], Explained]
"""Explains a cell from the folder in which every implementation that ended has its trace."""

LARGEST_TRACES = 1 << 29
"""Bytes of whole traces up to which a cell is explained while it runs; larger ones only if traces are kept."""


@dataclass(frozen=True, slots=True)
class Explaining:
    """Who explains cells, and up to which size of their traces."""

    explainer: Explainer
    largest: int = LARGEST_TRACES
