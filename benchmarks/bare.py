"""The bare loops: ``python -m benchmarks.bare``, the same steps of the same frameworks in a plain process.

``probes TARGET DTYPE`` takes every step that `parity identify` asks of a target. ``catalogue WORKER [DTYPE...]`` takes
every step that a run of the catalogue asks of a framework, and prints the CPU seconds of its import and its steps:
gradients are made before the clock runs. What is restarted goes on in new processes, which are forked after the
import. Nothing is compared, stored or explained.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parity.case.gradients import fill_gradients, fill_weights
from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.engine.plan import Candidate, Cell
from parity.implementations.implementation import WHOLE, Leg
from parity.implementations.registry import resolve, shipped_implementations
from parity.numerics.formats import FORMATS, format_named


class Question(NamedTuple):
    """What a cell asks. weights: (size,); gradients: (steps, size); absent: names by step."""

    layout: Layout
    weights: np.ndarray
    gradients: np.ndarray
    absent: Mapping[int, frozenset[str]]


def loop(name: str, asked: Question, hyper: Hyper, leg: Leg = WHOLE, last: int | None = None) -> float:
    """CPU seconds of the steps of an implementation. leg: a part of them, up to the step `last`."""
    implementation, layout = resolve(name), asked.layout
    given = [
        layout.views(row) | dict.fromkeys(asked.absent.get(step, ()))
        for step, row in enumerate(asked.gradients[:last], start=1)
    ][leg.first - 1 :]
    if not implementation.takes_leg:
        leg, hyper = WHOLE, hyper.since(leg.first)
    start = time.process_time()
    try:
        for _ in implementation.states(layout.views(asked.weights), iter(given), hyper, leg=leg):
            pass
    except Unsupported:
        pass
    return time.process_time() - start


def probes(target: str, dtype: str) -> None:
    """Every probe in a dtype."""
    from parity.identify.probes import probes as asked

    for one in asked(format_named(dtype)):
        loop(target, Question(one.layout, one.weights, one.gradients, one.none), one.hyper)


def catalogue(worker: str, *dtypes: str) -> None:
    """Every cell of the catalogue in the dtypes, all where none is named; prints CPU seconds as JSON."""
    from parity.case.catalogue import load_catalogue, shipped_cases
    from parity.engine.candidates import usual_candidates
    from parity.engine.plan import plan_cells

    candidates = usual_candidates()
    cases = load_catalogue(shipped_cases())
    cells = plan_cells(cases, candidates, dtypes or FORMATS, [one.name for one in candidates]).cells
    start = time.process_time()
    next(one.load for one in shipped_implementations().values() if one.framework == worker)()
    seconds = time.process_time() - start
    # As long as this process has computed nothing it can be what every part between two restarts begins in.
    seconds += sum(_parts(cell, worker) for cell in cells if cell.case.restart)
    print(json.dumps(seconds + sum(_whole(cell, worker) for cell in cells)))


def _whole(cell: Cell, worker: str) -> float:
    """CPU seconds of what is not restarted."""
    mine = [one for one in cell.candidates if one.worker == worker and cell.dtype in one.dtypes]
    if not mine:
        return 0.0
    asked = _question(cell)
    return sum(loop(one.target, asked, cell.case.hyper_for(one.defaults)) for one in mine)


def _parts(cell: Cell, worker: str) -> float:
    """CPU seconds of what is restarted: each part, saved and loaded, in a process of its own."""
    mine = [one for one in cell.candidates if one.restart and one.worker.split()[0] == worker]
    if not mine:
        return 0.0
    asked, ends = _question(cell), (0, *cell.case.restart, cell.case.steps)
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as root:

        def leg(one: Candidate, first: int, last: int) -> Leg:
            folders = [Path(root, one.name, str(step)) for step in (first - 1, last)]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            return Leg(first, folders[0] if first > 1 else None, folders[1] if last < cell.case.steps else None)

        def part(before: int, last: int) -> float:
            return sum(
                loop(one.target, asked, cell.case.hyper_for(one.defaults), leg(one, before + 1, last), last)
                for one in mine
            )

        return sum(_in_a_fork(partial(part, before, last)) for before, last in pairwise(ends))


def _in_a_fork(work: Callable[[], float]) -> float:
    """What a process that is forked from this one comes to."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        # JAX warns of threads that it has not started.
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        os.write(writes, repr(work()).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        seconds = told.read()
    os.waitpid(child, 0)
    return float(seconds)


def _question(cell: Cell) -> Question:
    case, format, layout = cell.case, format_named(cell.dtype), cell.case.layout()
    weights = np.zeros(layout.size, format.unsigned)
    gradients = np.zeros((case.steps, layout.size), format.unsigned)
    fill_weights(case, format, weights)
    absent = {
        step: frozenset(fill_gradients(case, format, step, gradients[step - 1])) for step in range(1, case.steps + 1)
    }
    return Question(layout, weights.view(format.dtype), gradients.view(format.dtype), absent)


if __name__ == "__main__":
    {"probes": probes, "catalogue": catalogue}[sys.argv[1]](*sys.argv[2:])
