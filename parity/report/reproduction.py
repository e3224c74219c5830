"""Commands that show again what a test saw."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from parity.engine.plan import Cell


def run_command(cell: Cell, pair: tuple[str, str], case: str = "") -> str:
    """``parity run`` on one pair. case: the file it stands in, empty for a shipped one."""
    words = ["parity", "run", *([case] * bool(case))]
    if not case or "[" in cell.case.name:
        words += ["-k", cell.case.name]
    targets = {candidate.name: candidate.target for candidate in cell.candidates}
    for name in pair:
        words += ["-i", targets[name]]
    return shlex.join([*words, "-d", cell.dtype])


def explain_command(case: str, targets: Sequence[str], dtype: str) -> str:
    """``parity explain`` on one pair. case: a file, or the name of a shipped case."""
    return shlex.join(["parity", "explain", case, *targets, "-d", dtype])


def page_command(folder: Path) -> str:
    """``parity report`` on a run directory."""
    return shlex.join(["parity", "report", str(folder)])


def test_command(node_id: str) -> str:
    """``pytest`` on one test, for what only its own process can run."""
    return shlex.join(["pytest", node_id])
