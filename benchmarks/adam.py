"""What a step of the from-scratch Adam takes beside torch's fused one, on 10 million float32."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import numpy as np

from benchmarks.measure import Figure, medians
from parity.adam.step import initial_state, step_in_place
from parity.adam.twin import Twin
from parity.adam.twins import TWINS
from parity.core.hyper import Hyper

SIZE = 10_000_000
ROUNDS = 9
PLAIN, FUSED = "numpy.adam.outside", "torch.adam.fused"
AIM, FMA_AIM = 1.0, 1.2


def figures(quick: bool = False) -> list[Figure]:
    """Ratios of median seconds of a step with default hyperparameters, every framework with as many threads."""
    gradient = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    steps = {
        PLAIN: _twin(gradient, TWINS[PLAIN]["float32"]),
        "fma": _twin(gradient, TWINS[FUSED]["float32"]),
        FUSED: _torch(gradient),
    }
    # The second step of a turn counts, as in a training loop: OpenMP's threads spin for milliseconds after their turn.
    seconds = medians(steps, ROUNDS, again=True)
    return [
        Figure("a step, 10 million float32, over `torch.optim.Adam(fused=True)`, same threads",
               seconds[PLAIN] / seconds[FUSED], AIM),
        Figure("a step with two fma over the plain one", seconds["fma"] / seconds[PLAIN], FMA_AIM),
    ]  # fmt: skip


def _twin(gradient: np.ndarray, twin: Twin) -> Callable[[], object]:
    state = initial_state({"w": np.zeros_like(gradient)}, Hyper())
    steps = itertools.count(1)

    def step() -> None:
        step_in_place(state, {"w": gradient}, Hyper(), twin.convention, twin.arithmetic, next(steps))

    return step


def _torch(gradient: np.ndarray) -> Callable[[], object]:
    import torch

    # As many as the from-scratch Adam takes.
    torch.set_num_threads(os.cpu_count() or 1)
    weights = torch.zeros(SIZE, requires_grad=True)
    weights.grad = torch.from_numpy(gradient)
    return torch.optim.Adam([weights], fused=True).step
