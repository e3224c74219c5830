"""A whole run of NumPy, torch and Keras beside the three bare loops, on 10 million parameters and as others ask."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.measure import PARITY, CommandFailed, Figure

SIZE = 10_000_000
ROUNDS = 5
STEPS = 40
"""Enough that what a start takes more or less decides nothing."""

TIME_AIM, MEMORY_AIM = 1.3, 1.2

MOST_MEMORY = 24.0
"""GiB of the machines on which it has to run."""

CASE = """
summary = "Ten million parameters, {steps} steps."
why = "Speed and memory of a whole run."
steps = {steps}
dtypes = ["float32"]

[[parameters]]
name = "w"
shape = [{size}]
weights = { kind = "uniform", low = -1.0, high = 1.0 }
gradients = { kind = "flipping", value = 0.1 }

[[expect]]
actual = "*"
expected = "*"
verdict = "DIVERGED"
because = "A benchmark asks for time, not for a verdict."
"""


class Subject(NamedTuple):
    """What is run: in words, its case for ``{steps}`` steps, how torch's Adam is called, and shapes by name.

    least, enough: rounds that there are in any case, and seconds after which no further one begins.
    """

    what: str
    case: str
    torch: str
    shapes: str
    steps: int = STEPS
    least: int = 2
    enough: float = 90.0

    @property
    def implementations(self) -> tuple[str, ...]:
        """Those that run."""
        return "numpy.adam.outside", f"torch.adam.{self.torch}", "keras.adam.eager"


LOOPS = {
    "numpy": """
        from parity.core.hyper import Hyper
        from parity.implementations.numpy_ import run
        def forever():
            while True:
                yield gradients
        states = run(weights, forever(), Hyper())
        step = lambda: next(states)
    """,
    "torch": """
        import torch
        parameters = [torch.nn.Parameter(torch.from_numpy(one)) for one in weights.values()]
        for parameter, one in zip(parameters, gradients.values()):
            parameter.grad = torch.from_numpy(one)
        optimizer = torch.optim.Adam(parameters, fused=FUSED)
        step = optimizer.step
    """,
    "keras": """
        import os
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras
        import tensorflow as tf
        variables = [keras.Variable(one) for one in weights.values()]
        tensors = [tf.constant(one) for one in gradients.values()]
        optimizer = keras.optimizers.Adam(epsilon=1e-8)
        step = lambda: optimizer.apply(tensors, variables)
    """,
}

PROLOGUE = """
import json, time
import numpy as np
generator = np.random.default_rng(0)
shapes, FUSED = {shapes}, {fused}
weights = {{name: generator.random(shape, dtype=np.float32) for name, shape in shapes.items()}}
gradients = {{name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}}
{loop}
step()
start = time.perf_counter()
for _ in range({steps}):
    step()
print(json.dumps(time.perf_counter() - start))
"""


def peak_memory(process: psutil.Process, found: list[int], stop: threading.Event) -> None:
    """Proportional set size of a process and its descendants, sampled until told to stop; the peak is kept."""
    while not stop.wait(0.1):
        total = 0
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            return
        for one in family:
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
        found[0] = max(found[0], total)


class Measured(NamedTuple):
    """A command. output: what it said. seconds: wall. peak: bytes of it and its descendants, 0 where nobody watched."""

    output: str
    seconds: float
    peak: int


def measured(command: list[str], allowed: tuple[int, ...] = (0,), *, watched: bool = False) -> Measured:
    """Run a command. watched: its memory is sampled, which holds up a process of many pages."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=peak_memory, args=(psutil.Process(process.pid), peak, stop))
    if watched:
        watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    stop.set()
    if watched:
        watcher.join()
    if process.returncode not in allowed:
        raise CommandFailed(f"{' '.join(command)[:200]}: exit code {process.returncode}")
    return Measured(output, seconds, peak[0])


def bare_loop(name: str, subject: Subject, *, watched: bool = False) -> Measured:
    """The steps of a framework alone; its output is their seconds."""
    loop, fused = textwrap.dedent(LOOPS[name]), subject.torch == "fused"
    script = PROLOGUE.format(shapes=subject.shapes, fused=fused, steps=subject.steps, loop=loop)
    return measured([sys.executable, "-c", script], watched=watched)


def whole_run(steps: int, folder: Path, subject: Subject, *, watched: bool = False) -> Measured:
    """A run of one case."""
    case = folder / f"{steps}.toml"
    case.write_text(subject.case.replace("{steps}", str(steps)))
    selected = [part for name in subject.implementations for part in ("-i", name)]
    command = [PARITY, "run", str(case), *selected, "-q", "-o", str(folder / f"run-{steps}")]
    return measured(command, (0, 1), watched=watched)


def figures(quick: bool = False) -> list[Figure]:
    """Of 10 million parameters in one tensor."""
    what = "NumPy, torch and Keras on 10 million parameters with all metrics"
    return beside(Subject(what, CASE.replace("{size}", str(SIZE)), "forloop", f"{{'w': ({SIZE},)}}"))[:2]


def beside(subject: Subject) -> list[Figure]:
    """Time: a run of 1 + its steps less one of 1 step, over the steps of the three bare loops, in turns, medians.

    Memory: the peak of another such run over the sum of the peaks of three more bare processes, and alone. A peak is
    that of the proportional set sizes of a process and its descendants, so that pages that forks share count once.
    """
    loops: list[float] = []
    runs: list[float] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as name:
        while len(loops) < subject.least or (len(loops) < ROUNDS and time.perf_counter() - start < subject.enough):
            loops.append(sum(float(json.loads(bare_loop(loop, subject).output)) for loop in LOOPS))
            short = whole_run(1, Path(name), subject).seconds
            runs.append(whole_run(1 + subject.steps, Path(name), subject).seconds - short)
        theirs = sum(bare_loop(loop, subject, watched=True).peak for loop in LOOPS)
        most = whole_run(1 + subject.steps, Path(name), subject, watched=True).peak
    what = subject.what
    return [
        Figure(f"{what} over the three bare loops", statistics.median(runs) / statistics.median(loops), TIME_AIM),
        Figure(f"{what}: peak memory over theirs", most / theirs, MEMORY_AIM),
        Figure(f"{what}: peak memory", most / 2**30, MOST_MEMORY, "GiB"),
    ]
