"""The bare loops: ``python -m benchmarks.bare``, the same steps of the same frameworks in a plain process.

``probes TARGET DTYPE`` takes every step that `parity identify` asks of a target. ``catalogue WORKER [DTYPE...]`` takes
every step that a run of the catalogue asks of a framework, and prints the CPU seconds of its import and its steps:
gradients are made before the clock runs. Nothing is compared, stored or explained.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.layout import Layout
from parity.implementations.registry import resolve


def loop(
    name: str, layout: Layout, weights: np.ndarray, gradients: np.ndarray, absent: Mapping[int, frozenset[str]],
    hyper: Hyper,
) -> float:  # fmt: skip
    """CPU seconds of the steps of an implementation. weights: (size,); gradients: (steps, size); absent: by step."""
    given = [layout.views(row) | dict.fromkeys(absent.get(step, ())) for step, row in enumerate(gradients, start=1)]
    start = time.process_time()
    try:
        for _ in resolve(name).states(layout.views(weights), iter(given), hyper):
            pass
    except Unsupported:
        pass
    return time.process_time() - start


def probes(target: str, dtype: str) -> None:
    """Every probe in a dtype."""
    from parity.identify.probes import probes as asked
    from parity.numerics.formats import format_named

    for one in asked(format_named(dtype)):
        loop(target, one.layout, one.weights, one.gradients, one.none, one.hyper)


def catalogue(worker: str, *dtypes: str) -> None:
    """Every cell of the catalogue in the dtypes, all where none is named; prints CPU seconds as JSON."""
    print(json.dumps(sum(_cells(worker, dtypes))))


def _cells(worker: str, dtypes: tuple[str, ...]) -> Iterator[float]:
    from parity.case.catalogue import load_catalogue, shipped_cases
    from parity.case.gradients import fill_gradients, fill_weights
    from parity.engine.candidates import usual_candidates
    from parity.engine.plan import plan_cells
    from parity.numerics.formats import FORMATS, format_named

    candidates = usual_candidates()
    cases = load_catalogue(shipped_cases())
    for cell in plan_cells(cases, candidates, dtypes or FORMATS, [one.name for one in candidates]).cells:
        mine = [one for one in cell.candidates if one.worker == worker and cell.dtype in one.dtypes]
        if not mine:
            continue
        case, format, layout = cell.case, format_named(cell.dtype), cell.case.layout()
        weights = np.zeros(layout.size, format.unsigned)
        gradients = np.zeros((case.steps, layout.size), format.unsigned)
        fill_weights(case, format, weights)
        absent = {
            step: frozenset(fill_gradients(case, format, step, gradients[step - 1]))
            for step in range(1, case.steps + 1)
        }
        for one in mine:
            yield loop(one.target, layout, weights.view(format.dtype), gradients.view(format.dtype), absent,
                       case.hyper_for(one.defaults))  # fmt: skip


if __name__ == "__main__":
    {"probes": probes, "catalogue": catalogue}[sys.argv[1]](*sys.argv[2:])
