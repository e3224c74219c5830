"""keras.optimizers.Adam on the TensorFlow backend: eager, inside tf.function, and compiled by XLA."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import (
    WHOLE,
    Gradients,
    Implementation,
    Leg,
    constant_betas,
    exclude_from_decay,
    one_count,
    shared_decay,
)
from parity.implementations.tensorflow_memory import aligned, array_of, tensor_on, tensorflow_module

MODEL, VARIABLES, WEIGHT = "model.keras", "variables.npz", "weight_"

_KEPT_BYTES = 1 << 26
"""Larger loops are not kept for the next run: their memory is worth more than their compilation."""


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
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
    while t goes on. start: is assigned to the optimizer's variables; its t has to be one for all. leg: "eager" saves
    what `save_own_variables` gives, the others a whole `.keras` model.
    Raises Unsupported: before the first state for L2 decay, which Keras's optimizers do not have,
    and where keras was imported with another backend; at a step in which every gradient is None,
    which Keras refuses with a ValueError.
    Source: keras/src/optimizers/adam.py and base_optimizer.py, keras/src/backend/tensorflow/optimizer.py,
    Keras 3.15.1.
    Differs from: torch, in the place of eps (the form before section 2.1 of Kingma & Ba, here) and
    in counting t for all parameters together.
    """
    if not hyper.decoupled and any(hyper.of(name).weight_decay for name in weights):
        raise Unsupported("keras: Adam has no L2 weight decay, only decoupled; set decoupled = true")
    beta1, beta2 = constant_betas(hyper, "keras")
    decay, decays = shared_decay(hyper, weights, "keras")
    _keras()
    configuration = _Configuration(
        variant=variant,
        shapes=tuple(array.shape for array in weights.values()),
        dtypes=tuple(array.dtype.name for array in weights.values()),
        beta1=beta1,
        beta2=beta2,
        eps=hyper.eps,
        weight_decay=decay or None,
        decays=decays,
        amsgrad=hyper.amsgrad,
    )
    idle = _idle_loops(configuration)
    loop = idle.pop() if idle else _build(configuration)
    try:
        _begin(loop, weights, start)
        if leg.load is not None:
            _load(loop, leg.load, variant)
        yield from _orbit(loop, weights, gradients, hyper, leg.first)
        if leg.save is not None:
            _save(loop, leg.save, variant)
    finally:
        # Also when the generator is abandoned: a loop goes back whatever its state, for every run resets it.
        if 4 * sum(array.nbytes for array in weights.values()) <= _KEPT_BYTES:
            idle.append(loop)


def _begin(loop: _Loop, weights: dict[str, np.ndarray], start: State | None, *, fresh: bool = False) -> None:
    """Weights, and the state of a loop that another run has left; fresh: there was none."""
    optimizer = loop.optimizer
    for variable, array in zip(loop.variables, weights.values(), strict=True):
        variable.assign(array)
    for variable in () if fresh else optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    if start is None:
        return
    optimizer.iterations.assign(one_count(start, "keras"))
    kept = {"_momentums": start.m, "_velocities": start.v, "_velocity_hats": start.vmax}
    for key, arrays in kept.items():
        if arrays is not None:
            for variable, name in zip(getattr(optimizer, key), weights, strict=True):
                variable.assign(arrays[name])


def _save(loop: _Loop, folder: Path, variant: str) -> None:
    if variant != "eager":
        with warnings.catch_warnings():
            # Keras 3.15 converts its variables for h5py in a way that NumPy 2 calls outdated.
            warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
            _model_of(loop).save(folder / MODEL)
        return
    kept: dict[str, np.ndarray] = {}
    loop.optimizer.save_own_variables(kept)
    kept |= {f"{WEIGHT}{place}": variable.numpy() for place, variable in enumerate(loop.variables)}
    # Half-precision numbers of ml_dtypes come back from a file of NumPy's as nothing that has a name.
    bits: dict[str, Any] = {key: np.frombuffer(np.asarray(one).tobytes(), np.uint8) for key, one in kept.items()}
    np.savez(folder / VARIABLES, **bits)


def _load(loop: _Loop, folder: Path, variant: str) -> None:
    optimizer = loop.optimizer
    if variant != "eager":
        keras, _ = _keras()
        # Else Keras would build the layers of a model that it has met in this process.
        model = keras.saving.load_model(folder / MODEL, custom_objects={"Parameters": _parameters_layer()})
        found = [*model.layers[-1].weights, *model.optimizer.variables]
        for variable, one in zip([*loop.variables, *optimizer.variables], found, strict=True):
            variable.assign(one.value)
        return
    with np.load(folder / VARIABLES, allow_pickle=False) as kept:

        def array(key: str, variable: Any) -> np.ndarray:
            dtype = variable.numpy().dtype
            return np.frombuffer(kept[key].tobytes(), dtype).reshape(variable.shape)

        optimizer.load_own_variables(
            {str(place): array(str(place), variable) for place, variable in enumerate(optimizer.variables)}
        )
        for place, variable in enumerate(loop.variables):
            variable.assign(array(f"{WEIGHT}{place}", variable))


def _model_of(loop: _Loop) -> Any:
    """A model whose only layer has the variables as its weights, compiled with their optimizer."""
    keras, _ = _keras()
    layer = _parameters_layer()([(tuple(one.shape), one.dtype) for one in loop.variables])
    inputs = keras.Input((1,))
    model = keras.Model(inputs, layer(inputs))
    optimizer = loop.optimizer.from_config(loop.optimizer.get_config())
    optimizer.build(layer.weights)
    model.compile(optimizer=optimizer)
    for variable, one in zip([*layer.weights, *optimizer.variables], [*loop.variables, *loop.optimizer.variables],
                             strict=True):  # fmt: skip
        variable.assign(one.value)
    return model


@cache
def _parameters_layer() -> Any:
    keras, _ = _keras()

    class Parameters(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """Weights of given shapes and dtypes, and nothing else."""

        def __init__(self, tensors: Any, **more: Any) -> None:
            super().__init__(**more)
            self.tensors = [(tuple(shape), dtype) for shape, dtype in tensors]
            for place, (shape, dtype) in enumerate(self.tensors):
                self.add_weight(shape=shape, dtype=dtype, name=f"parameter_{place}")
            self.built = True

        def call(self, inputs: Any) -> Any:
            return inputs

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "tensors": self.tensors}

    return Parameters


def _orbit(
    loop: _Loop, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper, first: int
) -> Iterator[State]:
    optimizer = loop.optimizer
    staging: dict[str, np.ndarray] = {}

    def show(variables: list[Any]) -> dict[str, np.ndarray]:
        return {name: array_of(variable.value) for name, variable in zip(weights, variables, strict=True)}

    for step, gradient in enumerate(gradients, start=first):
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
        m, v, vmax = (
            show(getattr(optimizer, key))
            if hasattr(optimizer, key) and (hyper.amsgrad or key != "_velocity_hats")
            else None
            for key in ("_momentums", "_velocities", "_velocity_hats")
        )
        yield State(show(loop.variables), m, v, vmax)


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
    decays: tuple[bool, ...]
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
    exclude_from_decay(optimizer, variables, configuration.decays)
    optimizer.build(variables)

    def apply(tensors: list[Any]) -> None:
        optimizer.apply(tensors)

    wrap: dict[str, Callable[[], Callable[[list[Any]], Any]]] = {
        "eager": lambda: apply,
        "function": lambda: tensorflow.function(apply),
        "xla": lambda: tensorflow.function(apply, jit_compile=True),
    }
    return _Loop(variables, optimizer, wrap[configuration.variant]())


def wrapped(make: Callable[[], Any], name: str) -> Implementation:
    """Any Keras optimizer as an implementation, eager: ``make()`` builds it, and parity sets the numbers.

    learning_rate, beta_1, beta_2, epsilon, weight_decay and amsgrad are set where it has them; what is asked for and
    has no place there is Unsupported. m, v and vmax are shown where it has _momentums, _velocities and
    _velocity_hats; its own numbers are its defaults.
    """
    _keras()
    own = make()
    names = {"beta1": "beta_1", "beta2": "beta_2", "eps": "epsilon"}
    told = {field: float(getattr(own, key)) for field, key in names.items() if hasattr(own, key)}
    first = Hyper(lr=float(own.learning_rate.numpy()), weight_decay=float(own.weight_decay or 0.0))
    defaults = replace(first, **told)  # type: ignore[arg-type]
    return Implementation(name, _run_wrapped, needs=("tensorflow", "keras>=3"), defaults=defaults,
                          options=MappingProxyType({"make": make}))  # fmt: skip


def _run_wrapped(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    *,
    make: Callable[[], Any],
) -> Iterator[State]:
    keras, _ = _keras()
    optimizer = make()
    beta1, beta2 = constant_betas(hyper, "keras")
    if not hyper.decoupled and any(hyper.of(name).weight_decay for name in weights):
        raise Unsupported("keras: its optimizers have no L2 weight decay, only decoupled")
    usual = Hyper()
    asked = {"beta_1": (beta1, usual.beta1), "beta_2": (beta2, usual.beta2), "epsilon": (hyper.eps, usual.eps),
             "amsgrad": (hyper.amsgrad, False)}  # fmt: skip
    for key, (value, plain) in asked.items():
        if hasattr(optimizer, key):
            setattr(optimizer, key, value)
        elif value != plain:
            raise Unsupported(f"{type(optimizer).__name__} has no {key}")
    decay, decays = shared_decay(hyper, weights, "keras")
    optimizer.weight_decay = decay or None
    variables = [keras.Variable(array, dtype=array.dtype.name, name=f"parameter_{place}")
                 for place, array in enumerate(weights.values())]  # fmt: skip
    exclude_from_decay(optimizer, variables, decays)
    optimizer.build(variables)
    loop = _Loop(variables, optimizer, optimizer.apply)
    _begin(loop, weights, start, fresh=True)
    yield from _orbit(loop, weights, gradients, hyper, 1)


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
