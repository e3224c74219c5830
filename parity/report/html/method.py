"""The budgets of a run, with how many wrong Adams each of them catches, and its processes, as rows of text."""

from __future__ import annotations

from collections.abc import Iterator

from parity.engine.record import Run
from parity.report.figures import power_text

NAMES = 6


def budget_rows(run: Run) -> Iterator[tuple[str, str, str, int, str]]:
    """Case, dtype, budget and its reference, pairs that are held to it, what it catches."""
    for one in run.powers:
        yield one.case, one.dtype, one.budget, one.pairs, power_text(one, NAMES)


def worker_rows(run: Run) -> Iterator[tuple[str, str, str]]:
    """Processes that saw the same, by name; their Python and packages."""
    seen: dict[tuple[str, str], list[str]] = {}
    for name, worker in sorted(run.workers.items()):
        packages = ", ".join(f"{package} {version}" for package, version in worker["packages"].items())
        seen.setdefault((worker["python"], packages), []).append(name)
    for (python, packages), names in seen.items():
        yield ", ".join(names), python, packages
