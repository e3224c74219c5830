"""Measuring in several processes at once, seen from the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.comparison.metrics import Metrics
from parity.engine.comparer import decode_metrics
from parity.engine.convoy import Interrupted
from parity.engine.process import WorkerFailed
from parity.engine.workers import Worker, Workers

MODULE = "parity.engine.comparer"


@dataclass(frozen=True, slots=True)
class Task:
    """Rows of two array files, and the places of the parameters in them."""

    dtype: str
    actual: Path
    expected: Path
    rows: slice
    places: tuple[slice, ...]

    def message(self) -> dict[str, Any]:
        """As a request to a comparer."""
        return {
            "op": "measure",
            "dtype": self.dtype,
            "actual": str(self.actual),
            "expected": str(self.expected),
            "rows": [self.rows.start, self.rows.stop],
            "places": [[place.start, place.stop] for place in self.places],
        }


def measure_apart(tasks: Sequence[Task], workers: Workers) -> list[list[Metrics]]:
    """The metrics of every task, one for each of its places; as many processes as there are CPUs."""
    try:
        processes = [workers.get(f"comparer-{number}", MODULE) for number in range(os.cpu_count() or 1)]
        for number, task in enumerate(tasks):
            processes[number % len(processes)].send(task.message())
        return [_received(processes[number % len(processes)]) for number in range(len(tasks))]
    except WorkerFailed as failure:
        if workers.stopped:
            raise Interrupted from None
        raise RuntimeError(f"a comparing process failed: {failure.reason}") from failure


def _received(process: Worker) -> list[Metrics]:
    answer = process.receive(None)
    return [decode_metrics(encoded) for encoded in answer["metrics"]]
