"""keras.optimizers.Adam on the TensorFlow backend: eager, inside tf.function, and compiled by XLA."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import Gradients, Implementation
from parity.implementations.tensorflow_memory import aligned, array_of, tensor_on, tensorflow_module

_KEPT_BYTES = 1 << 26
"""Larger loops are not kept for the next run: their memory is worth more than their compilation."""


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    *,
    variant: str = "eager",
) -> Iterator[State]:
    """The orbit of keras.optimizers.Adam; `variant` says how `optimizer.apply` is called.

    Per parameter w with gradient g, and t counting all steps of the optimizer (`iterations`)::

        w = w - w * weight_decay * lr                       decoupled, first
        alpha = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
        m = m + (g - m) * (1 - beta1)                       momentum
        v = v + (g * g - v) * (1 - beta2)                   velocity
        vmax = max(vmax, v)                                 velocity_hat, AMSGrad, before the correction
        w = w - m * alpha / (sqrt(v) + eps)

    weights, states: float64, float32, float16 or bfloat16, any shape; states are views, read-only.
    lr is assigned to `optimizer.learning_rate`, a variable in Keras's floatx (float32), before
    every step, without a new trace. A parameter whose gradient is None keeps w (no decay), m and v
    while t goes on.
    Raises Unsupported: before the first state for L2 decay, which Keras's optimizers do not have,
    and where keras was imported with another backend; at a step in which every gradient is None,
    which Keras refuses with a ValueError.
    Source: keras/src/optimizers/adam.py and base_optimizer.py, keras/src/backend/tensorflow/optimizer.py,
    Keras 3.15.1.
    Differs from: torch, in the place of eps (the form before section 2.1 of Kingma & Ba, here) and
    in counting t for all parameters together.
    """
    if hyper.weight_decay != 0 and not hyper.decoupled:
        raise Unsupported("keras: Adam has no L2 weight decay, only decoupled; set decoupled = true")
    _keras()
    configuration = _Configuration(
        variant=variant,
        shapes=tuple(array.shape for array in weights.values()),
        dtypes=tuple(array.dtype.name for array in weights.values()),
        beta1=hyper.beta1,
        beta2=hyper.beta2,
        eps=hyper.eps,
        weight_decay=hyper.weight_decay or None,
        amsgrad=hyper.amsgrad,
    )
    idle = _idle_loops(configuration)
    loop = idle.pop() if idle else _build(configuration)
    try:
        yield from _orbit(loop, weights, gradients, hyper)
    finally:
        # Also when the generator is abandoned: a loop goes back whatever its state, for every run resets it.
        if 4 * sum(array.nbytes for array in weights.values()) <= _KEPT_BYTES:
            idle.append(loop)


def _orbit(loop: _Loop, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> Iterator[State]:
    optimizer = loop.optimizer
    for variable, array in zip(loop.variables, weights.values(), strict=True):
        variable.assign(array)
    for variable in optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    staging: dict[str, np.ndarray] = {}

    def show(variables: list[Any]) -> dict[str, np.ndarray]:
        return {name: array_of(variable.value) for name, variable in zip(weights, variables, strict=True)}

    for step, gradient in enumerate(gradients, start=1):
        arrays = {name: gradient[name] for name in weights}
        if arrays and all(array is None for array in arrays.values()):
            raise Unsupported(f"keras: no parameter has a gradient at step {step}, which Keras refuses (a ValueError)")
        optimizer.learning_rate = hyper.lr_at(step)
        tensors = [
            None if array is None else tensor_on(aligned(name, array, staging)) for name, array in arrays.items()
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
            loop.apply(tensors)
        yield State(
            w=show(loop.variables),
            m=show(optimizer._momentums),
            v=show(optimizer._velocities),
            vmax=show(optimizer._velocity_hats) if hyper.amsgrad else None,
        )


@dataclass(frozen=True, slots=True)
class _Configuration:
    """All that is compiled into a step: whatever is not in here has to be a variable."""

    variant: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    beta1: float
    beta2: float
    eps: float
    weight_decay: float | None
    amsgrad: bool


@dataclass(frozen=True, slots=True)
class _Loop:
    """An optimizer, the variables it was built on, and its `apply` as the variant calls it."""

    variables: list[Any]
    optimizer: Any
    apply: Callable[[list[Any]], Any]


@lru_cache(maxsize=16)
def _idle_loops(configuration: _Configuration) -> list[_Loop]:
    """Loops that no run is using: a run takes one out, so that two runs at once never share one."""
    return []


def _build(configuration: _Configuration) -> _Loop:
    keras, tensorflow = _keras()
    variables = [
        keras.Variable(np.zeros(shape, dtype), dtype=dtype, name=f"parameter_{index}")
        for index, (shape, dtype) in enumerate(zip(configuration.shapes, configuration.dtypes, strict=True))
    ]
    optimizer = keras.optimizers.Adam(
        beta_1=configuration.beta1,
        beta_2=configuration.beta2,
        epsilon=configuration.eps,
        amsgrad=configuration.amsgrad,
        weight_decay=configuration.weight_decay,
    )
    optimizer.build(variables)

    def apply(tensors: list[Any]) -> None:
        optimizer.apply(tensors)

    wrap: dict[str, Callable[[], Callable[[list[Any]], Any]]] = {
        "eager": lambda: apply,
        "function": lambda: tensorflow.function(apply),
        "xla": lambda: tensorflow.function(apply, jit_compile=True),
    }
    return _Loop(variables, optimizer, wrap[configuration.variant]())


def _keras() -> tuple[Any, Any]:
    """The modules keras and tensorflow; Unsupported where keras came first with another backend."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise Unsupported(f"keras: imported with the {keras.backend.backend()} backend, needs tensorflow")
    return keras, tensorflow_module()


def _variant(name: str) -> Implementation:
    return Implementation(
        name=f"keras.adam.{name}",
        run=run,
        framework="keras",
        needs=("tensorflow", "keras>=3"),
        options=MappingProxyType({"variant": name}),
        convention="hat",
        defaults=Hyper(eps=1e-7),
        representative=name == "eager",
        load=_keras,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (_variant("eager"), _variant("function"), _variant("xla"))
