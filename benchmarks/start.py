"""What it costs to start: the command line, and a pytest session that does not use the plug-in."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import PARITY, Figure, cost

COMMANDS = {("--help",): 0.15, ("list", "implementations"): 0.3}
"""Arguments of `parity`, and the CPU seconds that they may take."""

PLUGIN_AIM = 10.0
ROUNDS = 9
SESSIONS = 15
"""Pairs of sessions: their difference is a few milliseconds and the noise of each as much."""


def figures(quick: bool = False) -> list[Figure]:
    """CPU seconds of commands, medians in turns, and CPU milliseconds that the plug-in adds to an empty session."""
    taken: dict[tuple[str, ...], list[float]] = {arguments: [] for arguments in COMMANDS}
    for _ in range(ROUNDS + 1):
        for arguments, seconds in taken.items():
            seconds.append(cost([PARITY, *arguments]).cpu)
    return [
        *(
            Figure(f"`parity {' '.join(arguments)}`, CPU", statistics.median(taken[arguments][1:]), aim, "s")
            for arguments, aim in COMMANDS.items()
        ),
        _plugin(),
    ]


def _plugin() -> Figure:
    """The median of the differences: CPU time, as wall time is too noisy for a difference so small."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    differences = []
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as name:
        folder = Path(name)
        (folder / "test_trivial.py").write_text("def test():\n    pass\n")
        cost(command, folder=folder)
        for _ in range(SESSIONS):
            without = cost([*command, "-p", "no:parity"], folder=folder).cpu
            differences.append(cost(command, folder=folder).cpu - without)
    cpu = 1000 * statistics.median(differences)
    return Figure("the plug-in's share of an empty pytest session, CPU", cpu, PLUGIN_AIM, "ms")
