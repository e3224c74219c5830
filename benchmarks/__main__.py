"""``make bench``: speed and memory as ratios, each measured side by side in one run, beside its target."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import adam, metrics, plugin, whole_run

HELP_SECONDS = 0.2
HELP_ROUNDS = 9


def help_rows() -> list[tuple[str, float, float, bool]]:
    """Seconds that ``parity --help`` takes; the median of several."""
    taken = []
    for _ in range(HELP_ROUNDS):
        start = time.perf_counter()
        subprocess.run([Path(sys.executable).parent / "parity", "--help"], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    seconds = statistics.median(taken)
    return [("seconds of parity --help", seconds, HELP_SECONDS, seconds <= HELP_SECONDS)]


SECTIONS: dict[str, tuple[str, Callable[[], Iterable[tuple[str, float, float, bool]]]]] = {
    "metrics of 10 million float32: times faster than": ("at least", metrics.rows),
    "a step of the from-scratch Adam, 10 million float32: time over that of": ("at most", adam.rows),
    "a step with exact fma, 10 million float32: time over the plain from-scratch Adam": ("at most", adam.twin_rows),
    "the command line": ("at most", help_rows),
    "the pytest plug-in": ("at most", plugin.rows),
    "a run of NumPy, torch and Keras on 10 million parameters": ("at most", whole_run.rows),
}


def main() -> None:
    """Print every figure with its target, and which are not reached."""
    missed = 0
    for title, (bound, rows) in SECTIONS.items():
        print(f"\n{title}", flush=True)
        for name, ratio, target, passed in rows():
            missed += not passed
            print(f"  {name:70} {ratio:7.2f}  {bound} {target:5.2f}  {'ok' if passed else 'NOT REACHED'}", flush=True)
    print(f"\n{missed} figure(s) not reached" if missed else "\nall figures reached")


if __name__ == "__main__":
    main()
