"""The optimizers that a training can be handed over to, each as an implementation that begins with a state.

What a certificate holds against the side that was not interrupted; what `parity.transfer` uses puts them in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import Gradients, Implementation
from parity.live.held import HAT, OUTSIDE, Held, held_by, put_into_keras, put_into_torch
from parity.live.transfer import set_epsilon_per_step


def _run_torch(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    *,
    kind: str,
    source: str,
) -> Iterator[State]:
    """A torch optimizer; source: where epsilon of the given number stands."""
    import torch

    import parity.live.bridge

    model = {name: torch.nn.Parameter(torch.from_numpy(np.array(array))) for name, array in weights.items()}
    makers = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "KerasAdam": parity.live.bridge.KerasAdam}
    optimizer = makers[kind](model.values(), amsgrad=hyper.amsgrad)
    held = held_by(optimizer, model)
    hypers = dict.fromkeys(model, hyper)
    put_into_torch(optimizer, held, _begun(held, weights, start), hypers)
    if source != held.epsilon:
        optimizer.register_step_pre_hook(set_epsilon_per_step(source, optimizer, held, hypers))

    def states() -> State:
        now = held_by(optimizer, model).state
        return now if hyper.amsgrad else now._replace(vmax=None)

    for step, gradient in enumerate(gradients, start=1):
        for name, parameter in model.items():
            array = gradient[name]
            parameter.grad = None if array is None else torch.from_numpy(np.array(array))
        for group in optimizer.param_groups:
            group["lr"] = hyper.lr_at(step)
        optimizer.step()
        yield states()


def _run_keras(
    weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper, start: State | None = None, *, kind: str
) -> Iterator[State]:
    """A Keras optimizer."""
    import keras

    import parity.live.bridge

    makers: dict[str, Any] = {"Adam": keras.optimizers.Adam, "TorchAdam": parity.live.bridge.TorchAdam}
    model = {name: keras.Variable(array, dtype=array.dtype.name, name=f"parameter_{place}")
             for place, (name, array) in enumerate(weights.items())}  # fmt: skip
    optimizer = makers[kind](amsgrad=hyper.amsgrad, weight_decay=hyper.weight_decay or None)
    optimizer.build(list(model.values()))
    held = held_by(optimizer, model)
    put_into_keras(optimizer, held, _begun(held, weights, start), dict.fromkeys(model, hyper))
    for step, gradient in enumerate(gradients, start=1):
        optimizer.learning_rate = hyper.lr_at(step)
        given = [None if gradient[name] is None else keras.ops.convert_to_tensor(gradient[name]) for name in model]
        optimizer.apply(given, list(model.values()))
        yield held_by(optimizer, model).state


def _begun(held: Held, weights: dict[str, np.ndarray], start: State | None) -> State:
    if start is None:
        return held.state
    return start._replace(w=weights)


def _torch(name: str, kind: str, source: str) -> Implementation:
    return Implementation(name, _run_torch, needs=("torch",), dtypes=("float64", "float32"), convention=source,
                          options={"kind": kind, "source": source})  # fmt: skip


def _keras(name: str, kind: str, epsilon: str) -> Implementation:
    return Implementation(name, _run_keras, needs=("tensorflow", "keras>=3"), dtypes=("float64", "float32"),
                          convention=epsilon, options={"kind": kind})  # fmt: skip


keras_adam_in_torch = _torch("parity.bridge.KerasAdam", "KerasAdam", HAT)
torch_adam_as_keras = _torch("torch.Adam.eps_per_step", "Adam", HAT)
torch_adam = _torch("torch.Adam", "Adam", OUTSIDE)
torch_adam_in_keras = _keras("parity.bridge.TorchAdam", "TorchAdam", OUTSIDE)
keras_adam = _keras("keras.Adam", "Adam", HAT)
