"""How fast one step of the from-scratch Adam is beside the frameworks', on 10 million float32."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from parity.adam.step import initial_state, step_in_place
from parity.adam.twins import TWINS, Twin
from parity.adam.workspace import Workspace
from parity.core.hyper import Hyper
from parity.implementations.numpy_ import run

SIZE = 10_000_000
ROUNDS = 9
TARGETS = {"torch.adam": 1.0, "keras.adam.eager": 1.0, "torch.adam.fused": 2.5}
"""The largest ratio of the from-scratch Adam's median time to each framework's."""


TWIN, TWIN_TARGET = "numpy.adam.outside with torch.adam.fused's fma", 15.0
"""The largest ratio of a twin with exact fma to the plain from-scratch Adam."""


def twin_rows() -> list[tuple[str, float, float, bool]]:
    """(name, ratio, target, passed): a step with two exact fma for each element over one without."""
    gradient = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    twin = TWINS["torch.adam.fused"]["float32"]
    steps = {"plain": _numpy(gradient), TWIN: _twin(gradient, twin)}
    seconds = _interleaved(steps, rounds=5)
    ratio = seconds[TWIN] / seconds["plain"]
    return [(TWIN, ratio, TWIN_TARGET, ratio < TWIN_TARGET)]


def rows() -> list[tuple[str, float, float, bool]]:
    """(name, ratio, target, passed) by framework; ratio of median seconds a step, measured in turns."""
    gradient = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    seconds = _interleaved(_steps(gradient))
    own = seconds["numpy.adam.outside"]
    ratios = {name: own / seconds[name] for name in TARGETS}
    return [(name, ratio, TARGETS[name], ratio < TARGETS[name]) for name, ratio in ratios.items()]


def _interleaved(steps: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of a step by name; the first round allocates, and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            # Untimed, as in a training loop: OpenMP's threads spin for milliseconds after the last turn.
            step()
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(every[1:]) for name, every in times.items()}


def _steps(gradient: np.ndarray) -> dict[str, Callable[[], object]]:
    """A function by name that takes one step of that Adam with its defaults."""
    return {"numpy.adam.outside": _numpy(gradient), **_torch(gradient), "keras.adam.eager": _keras(gradient)}


def _numpy(gradient: np.ndarray) -> Callable[[], object]:
    def forever() -> Iterator[dict[str, np.ndarray | None]]:
        while True:
            yield {"w": gradient}

    states = run({"w": np.zeros_like(gradient)}, forever(), Hyper())
    return lambda: next(states)


def _twin(gradient: np.ndarray, twin: Twin) -> Callable[[], object]:
    state = initial_state({"w": np.zeros_like(gradient)}, Hyper())
    steps = itertools.count(1)
    workspace = Workspace()

    def step() -> None:
        step_in_place(state, {"w": gradient}, Hyper(), twin.convention, twin.arithmetic, next(steps), None, workspace)

    return step


def _torch(gradient: np.ndarray) -> dict[str, Callable[[], object]]:
    import torch

    def step(**options: bool) -> Callable[[], object]:
        weights = torch.zeros(SIZE, requires_grad=True)
        weights.grad = torch.from_numpy(gradient)
        optimizer = torch.optim.Adam([weights], **options)
        return lambda: optimizer.step()

    return {"torch.adam": step(), "torch.adam.fused": step(fused=True)}


def _keras(gradient: np.ndarray) -> Callable[[], object]:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    weights = keras.Variable(np.zeros_like(gradient))
    given = tf.constant(gradient)
    optimizer = keras.optimizers.Adam()
    return lambda: optimizer.apply([given], [weights])


if __name__ == "__main__":
    print(f"{'against':<20} {'ratio':>6} {'target':>7}")
    for name, ratio, target, passed in (*rows(), *twin_rows()):
        print(f"{name:<20} {ratio:>6.2f} {'< ' + str(target):>7}  {'ok' if passed else 'MISSED'}")
