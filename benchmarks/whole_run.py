"""A whole run of NumPy, torch and Keras on 10 million parameters beside the three bare loops."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import psutil

SIZE = 10_000_000
ROUNDS = 5
STEPS = 20
LONG_STEPS = 200
TARGET = 1.5

CASE = """
summary = "Ten million parameters, {steps} steps."
why = "Speed and memory of a whole run."
steps = {steps}
dtypes = ["float32"]

[[parameters]]
name = "w"
shape = [{size}]
weights = {{ kind = "uniform", low = -1.0, high = 1.0 }}
gradients = {{ kind = "{kind}"{options} }}

[[expect]]
actual = "*"
expected = "*"
verdict = "DIVERGED"
because = "A benchmark asks for time, not for a verdict."
"""

KINDS = {"flipping": ", value = 0.1", "bell": ", scale = 0.1"}
"""Gradient programs: the cheapest there is, and near-normal numbers drawn anew at every step."""

IMPLEMENTATIONS = ("numpy.adam.outside", "torch.adam.forloop", "keras.adam.eager")

LOOPS = {
    "numpy": """
        from parity.core.hyper import Hyper
        from parity.implementations.numpy_ import run
        def forever():
            while True:
                yield {"w": gradient}
        states = run({"w": weights}, forever(), Hyper())
        step = lambda: next(states)
    """,
    "torch": """
        import torch
        parameter = torch.nn.Parameter(torch.from_numpy(weights))
        parameter.grad = torch.from_numpy(gradient)
        optimizer = torch.optim.Adam([parameter])
        step = optimizer.step
    """,
    "keras": """
        import os
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras
        import tensorflow as tf
        variable = keras.Variable(weights)
        tensor = tf.constant(gradient)
        optimizer = keras.optimizers.Adam(epsilon=1e-8)
        step = lambda: optimizer.apply([tensor], [variable])
    """,
}

PROLOGUE = """
import json, time
import numpy as np
generator = np.random.default_rng(0)
weights = generator.uniform(-1, 1, {size}).astype(np.float32)
gradient = generator.standard_normal({size}, dtype=np.float32)
{loop}
step()
start = time.perf_counter()
for _ in range({steps}):
    step()
print(json.dumps(time.perf_counter() - start))
"""


def peak_memory(process: psutil.Process, found: list[int], stop: threading.Event) -> None:
    """Proportional set size of a process and its children, sampled until told to stop; the peak is kept."""
    while not stop.wait(0.05):
        total = 0
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            return
        for one in family:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
        found[0] = max(found[0], total)


def measured(command: list[str]) -> tuple[str, float, int]:
    """Standard output, wall seconds and peak memory in bytes of a command and its children."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=peak_memory, args=(psutil.Process(process.pid), peak, stop))
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    return output, seconds, peak[0]


def bare_loop(name: str) -> tuple[float, int]:
    """Seconds of the steps of a framework alone, and the peak memory of its process."""
    script = PROLOGUE.format(size=SIZE, steps=STEPS, loop=textwrap.dedent(LOOPS[name]))
    output, _, peak = measured([sys.executable, "-c", script])
    return float(json.loads(output)), peak


def whole_run(kind: str, steps: int, folder: Path) -> tuple[float, int]:
    """Wall seconds of a run of one case, and the peak memory of all its processes."""
    case = folder / f"{kind}-{steps}.toml"
    case.write_text(CASE.format(steps=steps, size=SIZE, kind=kind, options=KINDS[kind]))
    selected = [part for name in IMPLEMENTATIONS for part in ("-i", name)]
    output = str(folder / f"run-{kind}-{steps}")
    command = [sys.executable, "-m", "parity", "run", str(case), *selected, "-q", "-o", output]
    _, seconds, peak = measured(command)
    return seconds, peak


def rows() -> list[tuple[str, float, float, bool]]:
    """(name, ratio, target, passed).

    Time: the steps of a run, as the difference between a run of 1 + STEPS and one of 1 step, over
    the sum of the steps of the three bare loops, in turns, medians. Memory: peak of a run over the
    sum of the peaks of the three bare processes; and of a run ten times as long over it.
    """
    loops: list[float] = []
    bare_peaks: list[int] = []
    runs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    peaks: dict[str, list[int]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as name:
        folder = Path(name)
        for _ in range(ROUNDS):
            bare = [bare_loop(loop) for loop in LOOPS]
            loops.append(sum(seconds for seconds, _ in bare))
            bare_peaks.append(sum(peak for _, peak in bare))
            for kind in KINDS:
                short, _ = whole_run(kind, 1, folder)
                full, peak = whole_run(kind, 1 + STEPS, folder)
                runs[kind].append(full - short)
                peaks[kind].append(peak)
        _, long_peak = whole_run("flipping", LONG_STEPS, folder)
    if os.environ.get("PARITY_BENCH_VERBOSE"):
        print(f"loops {loops}\nruns {runs}\npeaks {bare_peaks} {peaks} {long_peak}")
    bare_time, bare_peak = statistics.median(loops), statistics.median(bare_peaks)
    found = []
    for kind in KINDS:
        ratio = statistics.median(runs[kind]) / bare_time
        found.append((f"time of a run, {kind} gradients, over three bare loops", ratio, TARGET, ratio <= TARGET))
    peak = statistics.median(peaks["flipping"])
    found.append(("peak memory of a run over three bare loops", peak / bare_peak, TARGET, peak <= TARGET * bare_peak))
    growth = long_peak / peak
    found.append((f"peak memory of {LONG_STEPS} steps over {STEPS}", growth, 1.05, growth <= 1.05))
    return found


if __name__ == "__main__":
    for name, ratio, target, passed in rows():
        print(f"{name:62} {ratio:6.2f}  at most {target:4.2f}  {'passed' if passed else 'FAILED'}")
