"""keras.optimizers.Adam and AdamW on TensorFlow, torch and JAX: eager, and compiled in the ways a backend has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages
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
from parity.implementations.keras_around import arguments, begin_scale, refusing_rows, scaled, times_scale
from parity.implementations.keras_backend import BACKENDS, JAX, TENSORFLOW, TORCH, Apply, Backend, present
from parity.implementations.keras_restart import load, save
from parity.implementations.torch_memory import square_root

_KEPT_BYTES = 1 << 26
"""Larger loops are not kept for the next run: their memory is worth more than their compilation."""


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
    *,
    backend: str = TENSORFLOW.name,
    variant: str = "eager",
    optimizer: str = "Adam",
) -> Iterator[State]:
    """The orbit of keras.optimizers.Adam or AdamW; backend, variant: on what, and how `optimizer.apply` is called.

    Per parameter w with gradient g, and t counting all steps of the optimizer (`iterations`)::

        w = w - w * weight_decay * lr                       decoupled, first
        alpha = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
        m = m + (g - m) * (1 - beta1)                       momentum
        v = v + (g * g - v) * (1 - beta2)                   velocity
        vmax = max(vmax, v)                                 velocity_hat, AMSGrad, before the correction
        w = w - m * alpha / (sqrt(v) + eps)

    On torch the same in real arithmetic, by operations on lists of tensors, and with one alpha for all parameters, in
    the dtype of the first that has a gradient: behind a bfloat16 one, float32 weights stand still under beta2 = 0.999::

        w = w * (1 - weight_decay * lr)                     the factor in float32
        m = m * beta1;  m = m + g * (1 - beta1)             _foreach_mul_, _foreach_add_(alpha)
        v = v * beta2;  v = v + (g * g) * (1 - beta2)

    variant: "eager"; on TensorFlow also "function" and "xla"; on JAX "jit", which is `stateless_apply` compiled, as
    `fit` calls it.
    weights, states: float64, float32, float16 or bfloat16, any shape; states are views, read-only but on torch.
    lr is assigned to `optimizer.learning_rate`, a variable in Keras's floatx (float32), before
    every step, without a new trace. A parameter whose gradient is None keeps w (no decay), m and v
    while t goes on. Gradients that are rows are `tf.IndexedSlices`, sparse tensors of torch, BCOO of JAX; moments
    decay, and weights move, in all rows all the same. AdamW decays by 0 where no decay is asked for: -0 becomes 0, and
    inf NaN, but on torch.
    start: is assigned to the optimizer's variables; its t has to be one for all. leg: "eager" saves
    what `save_own_variables` gives, the others a whole `.keras` model.
    Masters: variables in float32, as a mixed policy has them, cast to the dtype of the model; gradients to float32.
    Raises Unsupported: before the first state for L2 decay, which Keras's optimizers do not have,
    and where keras was imported with another backend; at a step in which every gradient is None,
    which Keras refuses with a ValueError.
    Source: keras/src/optimizers/adam.py and base_optimizer.py, keras/src/backend/tensorflow/optimizer.py,
    keras/src/backend/torch/optimizers/torch_adam.py and torch_optimizer.py, keras/src/backend/jax/optimizer.py,
    Keras 3.15.1.
    Differs from: torch.optim, in the place of eps (the form before section 2.1 of Kingma & Ba, here) and
    in counting t for all parameters together.
    """
    on = BACKENDS[backend]
    if not hyper.decoupled and any(hyper.of(name).weight_decay for name in weights):
        raise Unsupported(f"{on.framework}: {optimizer} has no L2 weight decay, only decoupled; set decoupled = true")
    beta1, beta2 = constant_betas(hyper, on.framework)
    decay, decays = shared_decay(hyper, weights, on.framework)
    on.keras()
    if stages.state is not None and not stages.state.master:
        raise Unsupported(
            f"{on.framework}: moments have the dtype of their variable; wider ones come with masters alone"
        )
    configuration = _Configuration(
        backend=backend,
        variant=variant,
        optimizer=optimizer,
        shapes=tuple(array.shape for array in weights.values()),
        dtypes=tuple(stages.state.master if stages.state else array.dtype.name for array in weights.values()),
        beta1=beta1,
        beta2=beta2,
        eps=hyper.eps,
        weight_decay=decay if optimizer == "AdamW" else decay or None,
        decays=decays,
        amsgrad=hyper.amsgrad,
        stages=stages,
        lr=hyper.lr if stages.schedule is not None and not isinstance(hyper.lr, tuple) else 0.0,
    )
    idle = _idle_loops(configuration)
    loop = idle.pop() if idle else _build(configuration)
    try:
        with loop.context():
            _begin(loop, weights, start)
            if leg.load is not None:
                load(loop.outer, loop.variables, leg.load)
        yield from _orbit(loop, weights, gradients, hyper, leg.first)
        if leg.save is not None:
            with loop.context():
                save(loop.outer, loop.variables, leg.save, model=variant != "eager")
    finally:
        # Also when the generator is abandoned: a loop goes back whatever its state, for every run resets it.
        if 4 * sum(array.nbytes for array in weights.values()) <= _KEPT_BYTES:
            idle.append(loop)


def _begin(loop: _Loop, weights: dict[str, np.ndarray], start: State | None, *, fresh: bool = False) -> None:
    """Weights, and the state of a loop that another run has left; fresh: there was none."""
    optimizer = loop.optimizer
    for variable, array in zip(loop.variables, weights.values(), strict=True):
        # JAX stands on what it is given, and a state shows what a weight without a gradient still is.
        variable.assign(np.array(array, np.float32 if loop.stages.state else array.dtype))
    for variable in () if fresh else optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    begin_scale(loop.outer, loop.stages.loss_scale)
    if start is None:
        return
    optimizer.iterations.assign(one_count(start, loop.backend.framework))
    kept = {"_momentums": start.m, "_velocities": start.v, "_velocity_hats": start.vmax}
    for key, arrays in kept.items():
        if arrays is not None:
            for variable, name in zip(getattr(optimizer, key), weights, strict=True):
                variable.assign(np.array(arrays[name]))


def _orbit(
    loop: _Loop, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper, first: int
) -> Iterator[State]:
    on, optimizer = loop.backend, loop.optimizer
    halves = _halves(loop, weights)
    staging: dict[str, np.ndarray] = {}

    def show(variables: list[Any]) -> dict[str, np.ndarray]:
        return {name: on.array(variable) for name, variable in zip(weights, variables, strict=True)}

    for step, gradient in enumerate(gradients, start=first):
        arrays = {name: gradient[name] for name in weights}
        if arrays and all(array is None for array in arrays.values()):
            raise Unsupported(
                f"{on.framework}: no parameter has a gradient at step {step}, which Keras refuses (a ValueError)"
            )
        with loop.context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
            if loop.stages.schedule is None:
                optimizer.learning_rate = hyper.lr_at(step)
            tensors = [
                None
                if array is None
                else on.rows(array)
                if name in loop.stages.rows
                else on.tensor(name, array, staging)
                for name, array in arrays.items()
            ]
            if halves:
                tensors = [one if one is None else on.keras().ops.cast(one, "float32") for one in tensors]
            with refusing_rows(on.framework, loop.stages):
                loop.apply(times_scale(on.keras(), loop.outer, tensors, loop.stages.loss_scale))
        m, v, vmax = (
            show(getattr(optimizer, key))
            # RMSprop without momentum keeps an empty list of them.
            if len(getattr(optimizer, key, ())) == len(weights) and (hyper.amsgrad or key != "_velocity_hats")
            else None
            for key in ("_momentums", "_velocities", "_velocity_hats")
        )
        for half, variable in zip(halves, loop.variables, strict=bool(halves)):
            half.assign(on.keras().ops.cast(variable.value, half.dtype))
        average = show(optimizer._model_variables_moving_average) if loop.stages.shows_average else None
        yield State(show(halves or loop.variables), m, v, vmax, average=average)


def _halves(loop: _Loop, weights: dict[str, np.ndarray]) -> list[Any]:
    """The weights of the model, where the variables of the optimizer are their masters."""
    variable = loop.backend.keras().Variable
    return [variable(array, dtype=array.dtype.name) for array in weights.values()] if loop.stages.state else []


@dataclass(frozen=True, slots=True)
class _Configuration:
    """All that is compiled into a step: whatever is not in here has to be a variable."""

    backend: str
    variant: str
    optimizer: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    beta1: float
    beta2: float
    eps: float
    weight_decay: float | None
    decays: tuple[bool, ...]
    amsgrad: bool
    stages: Stages
    lr: float


@dataclass(frozen=True, slots=True)
class _Loop:
    """An optimizer, the variables it was built on, and its `apply` as the variant calls it.

    outer: what is applied, the optimizer or what it is wrapped in.
    """

    backend: Backend
    variables: list[Any]
    optimizer: Any
    apply: Apply
    outer: Any
    stages: Stages = NO_STAGES

    def context(self) -> AbstractContextManager[Any]:
        """In which its variables are made, read into and stepped.

        Not for a whole generator: a context that is open at a yield would be open for the caller too.
        """
        return self.backend.double(any(one.dtype == "float64" for one in self.variables))


@lru_cache(maxsize=16)
def _idle_loops(configuration: _Configuration) -> list[_Loop]:
    """Loops that no run is using: a run takes one out, so that two runs at once never share one."""
    return []


def _build(configuration: _Configuration) -> _Loop:
    on = BACKENDS[configuration.backend]
    keras = on.keras()
    with on.double("float64" in configuration.dtypes):
        variables = [
            keras.Variable(np.zeros(shape, dtype), dtype=dtype, name=f"parameter_{index}")
            for index, (shape, dtype) in enumerate(zip(configuration.shapes, configuration.dtypes, strict=True))
        ]
        optimizer = getattr(keras.optimizers, configuration.optimizer)(
            beta_1=configuration.beta1,
            beta_2=configuration.beta2,
            epsilon=configuration.eps,
            amsgrad=configuration.amsgrad,
            weight_decay=configuration.weight_decay,
            **arguments(keras, on.framework, configuration.stages, configuration.lr),
        )
        exclude_from_decay(optimizer, variables, configuration.decays)
        outer = scaled(keras, on.framework, optimizer, configuration.stages.loss_scale,
                       jitted=configuration.variant == "jit")  # fmt: skip
        outer.build(variables)
    apply = on.steps[configuration.variant](outer, variables)
    return _Loop(on, variables, optimizer, apply, outer, configuration.stages)


def wrapped(make: Callable[[], Any], name: str) -> Implementation:
    """Any Keras optimizer as an implementation, eager: ``make()`` builds it, and parity sets the numbers.

    learning_rate, beta_1, beta_2, epsilon, weight_decay and amsgrad are set where it has them; what is asked for and
    has no place there is Unsupported. m, v and vmax are shown where it has _momentums, _velocities and
    _velocity_hats; its own numbers are its defaults.
    """
    on = present()
    own = make()
    names = {"beta1": "beta_1", "beta2": "beta_2", "eps": "epsilon"}
    told = {field: float(getattr(own, key)) for field, key in names.items() if hasattr(own, key)}
    first = Hyper(lr=float(own.learning_rate.numpy()), weight_decay=float(own.weight_decay or 0.0))
    defaults = replace(first, **told)  # type: ignore[arg-type]
    return Implementation(name, _run_wrapped, needs=on.needs, options=MappingProxyType({"make": make}),
                          defaults=defaults, square_root=square_root if on is TORCH else None)  # fmt: skip


def _run_wrapped(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    *,
    make: Callable[[], Any],
) -> Iterator[State]:
    on = present()
    optimizer = make()
    beta1, beta2 = constant_betas(hyper, on.framework)
    if not hyper.decoupled and any(hyper.of(name).weight_decay for name in weights):
        raise Unsupported(f"{on.framework}: its optimizers have no L2 weight decay, only decoupled")
    usual = Hyper()
    asked = {"beta_1": (beta1, usual.beta1), "beta_2": (beta2, usual.beta2), "epsilon": (hyper.eps, usual.eps),
             "amsgrad": (hyper.amsgrad, False)}  # fmt: skip
    for key, (value, plain) in asked.items():
        if hasattr(optimizer, key):
            setattr(optimizer, key, value)
        elif value != plain:
            raise Unsupported(f"{type(optimizer).__name__} has no {key}")
    decay, decays = shared_decay(hyper, weights, on.framework)
    optimizer.weight_decay = decay or None
    with on.double(any(array.dtype == np.float64 for array in weights.values())):
        variables = [on.keras().Variable(array, dtype=array.dtype.name, name=f"parameter_{place}")
                     for place, array in enumerate(weights.values())]  # fmt: skip
        exclude_from_decay(optimizer, variables, decays)
        optimizer.build(variables)
        loop = _Loop(on, variables, optimizer, optimizer.apply, optimizer)
        _begin(loop, weights, start, fresh=True)
    yield from _orbit(loop, weights, gradients, hyper, 1)


def _variant(backend: Backend, name: str, optimizer: str = "Adam", *, representative: bool = False) -> Implementation:
    decays = optimizer == "AdamW"
    return Implementation(
        name=f"{backend.framework}.{optimizer.lower()}.{name}",
        run=run,
        framework=backend.framework,
        needs=backend.needs,
        options=MappingProxyType({"backend": backend.name, "variant": name, "optimizer": optimizer}),
        convention="hat",
        defaults=Hyper(eps=1e-7, weight_decay=0.004 if decays else 0.0, decoupled=decays),
        square_root=square_root if backend is TORCH else None,
        reciprocal_root=backend.reciprocal_root if name in ("xla", "jit") else None,
        representative=representative,
        load=backend.keras,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _variant(TENSORFLOW, "eager", representative=True),
    _variant(TENSORFLOW, "function"),
    _variant(TENSORFLOW, "xla"),
    _variant(TENSORFLOW, "eager", "AdamW"),
    _variant(TENSORFLOW, "function", "AdamW"),
    _variant(TENSORFLOW, "xla", "AdamW"),
    _variant(TORCH, "eager", representative=True),
    _variant(JAX, "eager"),
    _variant(JAX, "jit", representative=True),
)
