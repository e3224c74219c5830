"""What `parity identify` takes beside the steps that it asks for."""

from __future__ import annotations

import statistics
import sys

from benchmarks.measure import PARITY, Figure, cost

TARGET, DTYPE = "torch.adam.forloop", "float32"
ROUNDS = 5
AIM = 2.0


def figures(quick: bool = False) -> list[Figure]:
    """Wall time of the command over that of a plain process that takes the same steps, in turns; the first counts not.

    The plain process imports the framework, as the command's workers do.
    """
    asked, own = [], []
    for _ in range(ROUNDS + 1):
        asked.append(cost([PARITY, "identify", TARGET, "-d", DTYPE]).wall)
        own.append(cost([sys.executable, "-m", "benchmarks.bare", "probes", TARGET, DTYPE]).wall)
    what = f"`parity identify {TARGET} -d {DTYPE}`, wall over the target's own time"
    return [Figure(what, statistics.median(asked[1:]) / statistics.median(own[1:]), AIM)]
