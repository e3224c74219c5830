"""How fast one step of the from-scratch Adam is beside the frameworks', on 10 million float32."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from parity.hyper import Hyper
from parity.implementations.numpy_ import run

SIZE = 10_000_000
ROUNDS = 9
TARGETS = {"torch.adam": 1.0, "keras.adam.eager": 1.0, "torch.adam.fused": 2.5}
"""The largest ratio of the from-scratch Adam's median time to each framework's."""


def rows() -> list[tuple[str, float, float, bool]]:
    """(name, ratio, target, passed) by framework; ratio of median seconds a step, measured in turns."""
    gradient = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    seconds = _interleaved(_steps(gradient))
    own = seconds["numpy.adam.outside"]
    ratios = {name: own / seconds[name] for name in TARGETS}
    return [(name, ratio, TARGETS[name], ratio < TARGETS[name]) for name, ratio in ratios.items()]


def _interleaved(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of a step by name; the first round allocates, and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS + 1):
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
    for name, ratio, target, passed in rows():
        print(f"{name:<20} {ratio:>6.2f} {'< ' + str(target):>7}  {'ok' if passed else 'MISSED'}")
