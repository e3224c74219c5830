"""What a section answers, and how time is taken: medians of tasks in turn, CPU and wall seconds of commands."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PARITY = str(Path(sys.executable).parent / "parity")


class Figure(NamedTuple):
    """One row of the table. measured, aim: ratios, or in `unit` ("s", "ms"); at_least: the aim is a lower bound."""

    what: str
    measured: float
    aim: float
    unit: str = ""
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the aim is met."""
        return self.measured >= self.aim if self.at_least else self.measured <= self.aim


class Cost(NamedTuple):
    """Seconds of a command. cpu: user and system, of the process and of every descendant that was waited for."""

    wall: float
    cpu: float


class CommandFailed(Exception):
    """A command that is measured ended with another exit code than it should: one line."""


def medians(tasks: Mapping[str, Callable[[], object]], rounds: int, *, again: bool = False) -> dict[str, float]:
    """Median seconds by task; A B A B, so that a busy machine slows all of them, the first round not counted.

    again: a task runs twice in its turn and the second counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            if again:
                task()
            start = time.perf_counter()
            task()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def cost(command: Sequence[str], allowed: Sequence[int] = (0,), folder: Path | None = None) -> Cost:
    """What a command takes. CommandFailed, with its last line, where its exit code is none of the allowed.

    wait4 counts children of children once their parents have waited for them, as a server of forks does.
    """
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in allowed:
            said.seek(0)
            last = (said.read().decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
            raise CommandFailed(f"{' '.join(command)[:200]}: exit code {process.returncode}: {last}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)
