"""What the whole catalogue costs, run and explained, beside the bare loops of its frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import PARITY, Figure, cost

AIM, REPORT_AIM = 1.5, 180.0
QUICK = "float32"
"""The dtype that stands for all of them with --quick; its rows say so."""


def figures(quick: bool = False) -> list[Figure]:
    """CPU time of a run over that of the bare loops, and wall seconds of a run and its report.

    Two loops run at a time, as two jobs of a run do: what CPUs take from each other counts on both sides. CPU time of a
    run is that of all its processes.
    """
    part = f" (a part: {QUICK} only)" if quick else ""
    loops = _loops(quick)
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as folder:
        chosen = ["-d", QUICK] if quick else []
        # Exit code 1 says that a pair is not as expected, which is no matter of time.
        run = cost([PARITY, "run", "-q", "-j", "2", "-o", str(Path(folder) / "run"), *chosen], (0, 1))
        report = cost([PARITY, "report", str(Path(folder) / "run")])
    return [
        Figure(f"CPU time of `parity run` over the whole catalogue, explained, over the sum of the bare loops{part}",
               run.cpu / loops, AIM),
        Figure(f"wall time of `make report` after set-up, 2 cores{part}", run.wall + report.wall, REPORT_AIM, "s"),
    ]  # fmt: skip


def _loops(quick: bool) -> float:
    """CPU seconds of all bare loops, a plain process for each framework."""
    from parity.engine.candidates import usual_candidates

    def loop(worker: str) -> float:
        command = [sys.executable, "-m", "benchmarks.bare", "catalogue", worker, *([QUICK] if quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
        return float(json.loads(done.stdout.splitlines()[-1]))

    with ThreadPoolExecutor(2) as threads:
        return sum(threads.map(loop, dict.fromkeys(one.worker for one in usual_candidates())))
